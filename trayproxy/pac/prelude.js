// The functions that PAC scripts may call, and the function with which context.py runs a script.
//
// Sources: Netscape, "Navigator Proxy Auto-Config File Format" (1996), and its behaviour in Firefox
// and Chromium where the text is silent; Microsoft, "IPv6 Extensions to Navigator Auto-Config File
// Format" (the functions with "Ex", sortIpAddressList, getClientVersion).
//
// The engine cannot call Python while a time limit applies. A function that needs the addresses of an
// unknown name therefore records the name and throws. Python resolves the name and runs the script
// again with the addresses. The record, unlike the exception, survives a `catch` of the script.
(function (global) {
  "use strict";

  const MAX_ALERTS = 20;
  const MAX_ALERT_LENGTH = 500;
  const MAX_ANSWER_LENGTH = 8192;
  const MAX_EXPRESSIONS = 4096;
  const MAX_NAME_LENGTH = 255;
  const MAX_TEXT_LENGTH = 2000;
  const DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
  const MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

  // Scripts may replace these.
  const { parse, stringify } = JSON;
  const evaluate = eval;

  let addresses = new Map();
  let ownAddresses = [];
  let namesLeft = 0;
  let needed = [];
  let alerts = [];
  const expressions = new Map();

  function lookUp(name) {
    const known = addresses.get(name);
    if (known !== undefined) return known;
    if (!needed.includes(name)) {
      if (name.length > MAX_NAME_LENGTH || needed.length >= namesLeft) return [];
      needed.push(name);
    }
    throw new Error("TrayProxy needs the addresses of " + name);
  }

  // Returns the 4 bytes of an IPv4 address in dotted decimal, or null.
  function parse4(text) {
    const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
    const bytes = parts && parts.slice(1).map(Number);
    return bytes && bytes.every((byte) => byte < 256) ? bytes : null;
  }

  // Returns the 16 bytes of an IPv6 address (RFC 4291, section 2.2), or null.
  function parse6(text) {
    const ipv4 = /[^:]*\.[^:]*$/.exec(text);
    if (ipv4) {
      const low = parse4(ipv4[0]);
      if (!low) return null;
      const words = [low[0] * 256 + low[1], low[2] * 256 + low[3]];
      text = text.slice(0, ipv4.index) + words.map((word) => word.toString(16)).join(":");
    }
    const halves = text.split("::");
    if (!text.includes(":") || halves.length > 2) return null;
    const [high, low = []] = halves.map((half) => (half ? half.split(":") : []));
    const zeros = 8 - high.length - low.length;
    if (halves.length === 2 ? zeros < 1 : zeros !== 0) return null;
    const words = [...high, ...Array(zeros).fill("0"), ...low];
    if (!words.every((word) => /^[0-9a-f]{1,4}$/i.test(word))) return null;
    return words.flatMap((word) => [parseInt(word, 16) >> 8, parseInt(word, 16) & 255]);
  }

  function parseAddress(text) {
    return parse4(text) || parse6(text);
  }

  function toIpv6(bytes) {
    return bytes.length === 16 ? bytes : [...Array(10).fill(0), 255, 255, ...bytes];
  }

  function compareBytes(some, others) {
    const at = some.findIndex((byte, index) => byte !== others[index]);
    return at < 0 ? 0 : some[at] - others[at];
  }

  function hasPrefix(bytes, prefix, length) {
    return bytes.every((byte, index) => {
      const mask = (0xff00 >> Math.max(0, Math.min(8, length - 8 * index))) & 255;
      return (byte & mask) === (prefix[index] & mask);
    });
  }

  // Returns the arguments without a last "GMT", and the current time. If "GMT" was there, the local
  // fields of the time are those of UTC.
  function withTime(args) {
    const values = Array.from(args);
    const now = new Date();
    if (values[values.length - 1] === "GMT") {
      values.pop();
      const date = [now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()];
      const time = [now.getUTCHours(), now.getUTCMinutes(), now.getUTCSeconds()];
      now.setFullYear(...date);
      now.setHours(...time);
    }
    return [values, now];
  }

  // A range whose end is before its beginning continues across the end of the day, week or year.
  function isBetween(value, first, last) {
    return first <= last ? first <= value && value <= last : first <= value || value <= last;
  }

  // Changes a date to the last day of the month if a change of month or year has moved the date into
  // the next month, such as from 31 December to 31 February.
  function change(date, setter, value) {
    const day = date.getDate();
    date[setter](value);
    if (date.getDate() !== day) date.setDate(0);
  }

  function setDatePart(date, value) {
    const number = parseInt(value, 10);
    if (number < 32) date.setDate(number);
    else if (number >= 32) change(date, "setFullYear", number);
    else change(date, "setMonth", MONTHS.indexOf(String(value)));
  }

  function matchesDatePart(date, value) {
    const number = parseInt(value, 10);
    if (number < 32) return date.getDate() === number;
    if (number >= 32) return date.getFullYear() === number;
    return MONTHS[date.getMonth()] === value;
  }

  const functions = {
    alert(message) {
      const text = String(message);
      if (alerts.length < MAX_ALERTS) alerts.push(text.slice(0, MAX_ALERT_LENGTH));
    },

    isPlainHostName(host) {
      if (typeof host !== "string") throw new TypeError("Requires 1 string parameter");
      return !host.includes(".") && !parse6(host);
    },

    dnsDomainIs(host, domain) {
      return host.length >= domain.length && host.substring(host.length - domain.length) === domain;
    },

    localHostOrDomainIs(host, domain) {
      return host === domain || domain.startsWith(host + ".");
    },

    dnsDomainLevels(host) {
      return host.split(".").length - 1;
    },

    dnsResolve(host) {
      if (typeof host !== "string" || host === "" || parse6(host)) return null;
      if (parse4(host)) return host;
      const found = lookUp(host).find((address) => !address.includes(":"));
      return found === undefined ? null : found;
    },

    isResolvable(host) {
      return functions.dnsResolve(host) !== null;
    },

    isInNet(host, pattern, mask) {
      const wanted = parse4(pattern);
      const bits = parse4(mask);
      if (!wanted || !bits) return false;
      const bytes = parse4(functions.dnsResolve(host));
      return bytes !== null && bytes.every((byte, index) => ((byte ^ wanted[index]) & bits[index]) === 0);
    },

    convert_addr(address) {
      const bytes = address.split(".");
      return ((bytes[0] & 255) << 24) | ((bytes[1] & 255) << 16) | ((bytes[2] & 255) << 8) | (bytes[3] & 255);
    },

    myIpAddress() {
      const found = ownAddresses.find((address) => !address.includes(":"));
      return found === undefined ? "127.0.0.1" : found;
    },

    // As in Netscape's implementation, the other characters of a regular expression keep their
    // meaning, and scripts use them: "(*.example|example)".
    shExpMatch(text, pattern) {
      let expression = expressions.get(pattern);
      if (!expression) {
        const meanings = { ".": "\\.", "*": ".*", "?": "." };
        const source = String(pattern).replace(/[.*?]/g, (char) => meanings[char]);
        try {
          expression = new RegExp("^" + source + "$");
        } catch {
          const literal = String(pattern).replace(/[\\^$+|()[\]{}]/g, "\\$&");
          expression = new RegExp("^" + literal.replace(/[.*?]/g, (char) => meanings[char]) + "$");
        }
        if (expressions.size >= MAX_EXPRESSIONS) expressions.clear();
        expressions.set(pattern, expression);
      }
      return expression.test(text);
    },

    weekdayRange(...args) {
      const [days, now] = withTime(args);
      const [first, last = first] = days.map((day) => DAYS.indexOf(day));
      return first >= 0 && last >= 0 && isBetween(now.getDay(), first, last);
    },

    // With more than one part, the first half of the parts is the beginning, and the second half is the
    // end. For a single date such as (24, "DEC"), Netscape's implementation, and therefore browsers,
    // compare ranges as well; scripts depend on the results.
    dateRange(...args) {
      const [parts, now] = withTime(args);
      if (parts.length < 2) return parts.length === 1 && matchesDatePart(now, parts[0]);
      if (parts.some((part) => isNaN(parseInt(part, 10)) && !MONTHS.includes(part))) return false;
      const first = new Date(now.getFullYear(), 0, 1, 0, 0, 0);
      const last = new Date(now.getFullYear(), 11, 31, 23, 59, 59);
      const middle = parts.length >> 1;
      parts.slice(0, middle).forEach((part) => setDatePart(first, part));
      parts.slice(middle).forEach((part) => setDatePart(last, part));
      if (parts.length === 2 && parseInt(parts[0], 10) < 32) {
        change(first, "setMonth", now.getMonth());
        change(last, "setMonth", now.getMonth());
      }
      return isBetween(now.getTime(), first.getTime(), last.getTime());
    },

    timeRange(...args) {
      const [parts, now] = withTime(args);
      const numbers = parts.map(Number);
      const [hour, seconds] = [now.getHours(), 60 * now.getMinutes() + now.getSeconds()];
      const time = 3600 * hour + seconds;
      const at = (h, m, s) => 3600 * h + 60 * m + s;
      switch (numbers.length) {
        case 0:
          return false;
        case 1:
          return hour === numbers[0];
        case 2:
          return isBetween(hour, numbers[0], numbers[1]);
        case 4:
          return isBetween(time, at(numbers[0], numbers[1], 0), at(numbers[2], numbers[3], 59));
        case 6:
          return isBetween(time, at(...numbers.slice(0, 3)), at(...numbers.slice(3)));
        default:
          throw new TypeError("timeRange has 1, 2, 4 or 6 numbers");
      }
    },

    dnsResolveEx(host) {
      if (typeof host !== "string" || host === "") return "";
      return parseAddress(host) ? host : lookUp(host).join(";");
    },

    isResolvableEx(host) {
      return functions.dnsResolveEx(host) !== "";
    },

    myIpAddressEx() {
      return ownAddresses.join(";");
    },

    // An IPv4 address is compared with an IPv6 prefix as ::ffff:a.b.c.d.
    isInNetEx(host, prefix) {
      if (typeof host !== "string" || typeof prefix !== "string") return null;
      const [network, length, ...rest] = prefix.split("/");
      const wanted = parseAddress(network);
      if (!wanted || rest.length || !/^\d{1,3}$/.test(length) || length > 8 * wanted.length) return false;
      // The last label of a name has a letter.
      const isName = /^[\w.-]*[a-z][\w-]*\.?$/i.test(host);
      return (isName ? lookUp(host) : host.split(";")).some((text) => {
        const bytes = parseAddress(text);
        if (!bytes) return false;
        if (bytes.length === wanted.length) return hasPrefix(bytes, wanted, Number(length));
        const added = wanted.length === 4 ? 96 : 0;
        return hasPrefix(toIpv6(bytes), toIpv6(wanted), Number(length) + added);
      });
    },

    // IPv6 before IPv4, and both in ascending order.
    sortIpAddressList(list) {
      if (typeof list !== "string") return null;
      const texts = list.split(";").map((text) => text.trim()).filter((text) => text);
      const entries = texts.map((text) => ({ text, bytes: parseAddress(text) }));
      if (!entries.length || entries.some((entry) => !entry.bytes)) return false;
      entries.sort((a, b) => b.bytes.length - a.bytes.length || compareBytes(a.bytes, b.bytes));
      return entries.map((entry) => entry.text).join(";");
    },

    getClientVersion() {
      return "1.0";
    },
  };

  for (const name of Object.keys(functions)) {
    Object.defineProperty(global, name, {
      value: functions[name], writable: true, enumerable: true, configurable: true,
    });
  }

  function find({ url, host }) {
    const { FindProxyForURLEx, FindProxyForURL } = global;
    const entry = [FindProxyForURLEx, FindProxyForURL].find((value) => typeof value === "function");
    if (entry === undefined) return { type: "missing" };
    if (!url) return { answer: "" };
    const answer = entry(url, host);
    // "If the string is null, no proxies should be used" (Netscape).
    if (answer === null) return { answer: "" };
    return typeof answer === "string" ? { answer: answer.slice(0, MAX_ANSWER_LENGTH) } : { type: typeof answer };
  }

  // Returns an exception as text. The functions of an exception may be functions of the script.
  function describe(error) {
    const texts = { error: "", stack: "" };
    try {
      texts.error = error === null ? "InternalError: out of memory" : String(error).slice(0, MAX_TEXT_LENGTH);
      texts.stack = String(error.stack).slice(0, MAX_TEXT_LENGTH);
    } catch {
      // The parts that could be read are enough.
    }
    return texts;
  }

  // For an exception that leaves this file, the engine calls functions of the exception without a time
  // limit. The only such exception is the InternalError for a script that was interrupted, and the
  // script cannot change these functions of an InternalError.
  const properties = { name: "InternalError", message: "", stack: "", toString: Error.prototype.toString };
  Object.assign(InternalError.prototype, properties, { [Symbol.toPrimitive]: undefined });
  Object.freeze(InternalError.prototype);
  Object.defineProperty(Error, "prepareStackTrace", { value: undefined });

  const commands = {
    // Prepares a run: the known names with their addresses, the addresses of this computer, and the
    // number of names that may be looked up in addition.
    begin({ names, own, names_left: left }) {
      addresses = new Map(names);
      ownAddresses = own;
      namesLeft = left;
      needed = [];
      alerts = [];
      return {};
    },

    // A script that begins with "use strict" would keep its functions to itself: the first statement
    // makes that a text without a meaning.
    load({ script }) {
      evaluate("0;" + script);
      return {};
    },

    // Returns `answer`, the text returned by the script, or `type`, the type of another result.
    // `type` is "missing" if the script defines no function. Without a URL, calls no function.
    find,

    report() {
      return { needed, alerts };
    },
  };

  return (command, settings) => {
    try {
      try {
        return stringify(commands[command](parse(settings)));
      } catch (error) {
        return stringify(describe(error));
      }
    } catch {
      // The memory is full, or the script has changed the meaning of JSON.
      return "";
    }
  };
})(globalThis);
