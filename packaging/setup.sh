# Shared by packaging/demo and packaging/test, sourced by them: everything that a bare Debian with
# python3 lacks. What is missing is found out first and installed or named in one go; when nothing is
# missing, nothing is done, so that a second run is quick and needs no network.
# shellcheck shell=bash

readonly VENV=.venv

say() { printf '%s\n' "$*" >&2; }

# Ends with what the person can do about it.
give_up() {
  say "$1"
  shift
  for line in "$@"; do say "  $line"; done
  exit 1
}

# Leaves only what the commands need of the caller's desktop and network settings: programs started
# here must meet neither the person's session nor, on loopback, the person's proxy.
forget_session() {
  unset DISPLAY WAYLAND_DISPLAY XAUTHORITY DBUS_SESSION_BUS_ADDRESS PYTHON_KEYRING_BACKEND
  # Whoever has no bus address looks for the bus in the runtime folder.
  unset XDG_RUNTIME_DIR XDG_CURRENT_DESKTOP XDG_SESSION_TYPE TRAYPROXY_HOME
  forget_proxies
}

forget_proxies() {
  unset http_proxy https_proxy ftp_proxy all_proxy no_proxy
  unset HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY
}

# Prints how to become root, fails if we may not.
as_root() {
  if [[ $(id -u) == 0 ]]; then
    printf 'env'
  elif sudo -n true 2>/dev/null; then
    printf 'sudo -n env'
  else
    return 1
  fi
}

# Prints those of the given packages that are not installed. `a|b` is missing if neither a nor b is
# installed; the first of them that apt can install is printed, or the last if apt does not know.
missing_packages() {
  local names name choice
  for names in "$@"; do
    for name in ${names//|/ }; do
      is_installed "$name" && continue 2
    done
    choice=
    for name in ${names//|/ }; do
      [[ -n $choice ]] && can_be_installed "$choice" || choice=$name
    done
    printf '%s ' "$choice"
  done
}

is_installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -q '^installed'; }

can_be_installed() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'; }

# Installs Debian packages, or ends with the command that does.
#   $1    what for, completes "Packages for … are missing"
#   $2..  the packages that are missing
install_packages() {
  local purpose=$1 root
  shift
  local command="apt-get install -y --no-install-recommends $*"
  command -v apt-get >/dev/null || give_up "Packages for $purpose are missing. This system has no apt-get; install the counterparts of:" "$*"
  root=$(as_root) || give_up "Packages for $purpose are missing, and only an administrator may install them. Run this, then try again:" "sudo $command"
  say "Installing for $purpose: $*"
  # Word splitting is meant: $root is a command and its arguments.
  # shellcheck disable=SC2086
  $root DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 update >&2 </dev/null
  # shellcheck disable=SC2086
  $root DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 install -y \
    --no-install-recommends "$@" >&2 </dev/null
}

# Installs packages. Everything that a command needs is given at once, so that a person who may not
# install is told all of it the first time.
#   $1    what for, completes "Packages for … are missing"
#   $2..  lists of packages that are missing, each separated by blanks and maybe empty
ensure_packages() {
  local purpose=$1 missing
  shift
  read -ra missing <<<"$*"
  [[ ${#missing[@]} == 0 ]] || install_packages "$purpose" "${missing[@]}"
}

# Prints the first Python that TrayProxy runs on: $PYTHON, python3, or one with its version in its name.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.12 python3.13 python3.14; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# Prints the Python of the virtual environment, or the one that it will be made with.
python_for_venv() {
  if "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
    printf '%s' "$VENV/bin/python"
  else
    find_python
  fi
}

# Ends with advice if there is no Python that TrayProxy runs on.
require_python() {
  python_for_venv >/dev/null || give_up "TrayProxy needs Python 3.11 to 3.14. Debian 12 and newer have it:" "sudo apt-get install python3"
}

# Prints the packages that are missing for a virtual environment: Debian has the installer of pip in a
# package of its own.
missing_for_venv() {
  "$(python_for_venv)" -c 'import ensurepip, venv' 2>/dev/null || missing_packages python3-venv
}

# Prints the packages that are missing to build what a lock file lists: Kerberos has no wheels for
# Linux.
#   $1  the lock file
missing_for_lock() {
  is_up_to_date "$1" && return
  grep -q '^krb5==' "$1" || return 0
  missing_packages gcc libc6-dev libkrb5-dev
  # A Python of its own making brings its headers; Debian's has them in a package of their own.
  "$(python_for_venv)" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
    missing_packages python3-dev
}

# Prints the packages of the system libraries and fonts that Qt will not find.
missing_for_qt() {
  local missing
  missing=$("$(python_for_venv)" trayproxy/desktop/qt_libraries.py)
  if [[ -z $missing ]] && ! has_fonts; then missing=fonts-dejavu-core; fi
  printf '%s' "$missing"
}

has_fonts() { compgen -G '/usr/share/fonts/*/*' >/dev/null || compgen -G "${HOME:-/root}/.fonts/*" >/dev/null; }

# Makes the virtual environment in $VENV, or leaves a usable one.
ensure_venv() {
  "$VENV/bin/python" -c 'import pip' 2>/dev/null && return
  local python
  python=$(find_python)
  say "Making the virtual environment $VENV with $("$python" --version)"
  "$python" -m venv --clear "$VENV" >&2
}

# Prints what says whether a lock file was installed as it is now.
#   $1  the lock file
fingerprint() { cat "$1" pyproject.toml | sha256sum; }

# Whether what a lock file lists is installed in $VENV.
#   $1  the lock file
is_up_to_date() {
  local stamp=$VENV/installed-${1##*/}
  [[ -f $stamp && $(<"$stamp") == "$(fingerprint "$1")" && -x $VENV/bin/trayproxy ]]
}

# Prints the part of a lock file that has wheels for every system and opens no window: without Kerberos,
# which must be compiled, and without Qt.
#   $1  the lock file
without_kerberos_and_qt() {
  awk '/^[a-z0-9]/ { kept = $0 !~ /^(gssapi|krb5|pyside6-essentials|pytest-qt|shiboken6)==/ }
    /^#/ || kept' "$1"
}

# Installs the locked packages and TrayProxy itself, editable, into $VENV.
#   $1  the lock file
ensure_trayproxy() {
  local lock=$1
  is_up_to_date "$lock" && return
  say "Installing TrayProxy and what $lock lists into $VENV"
  # What must be compiled is tried, not raced: without optimisation it takes a third of the time.
  CFLAGS="-O0 -g0" "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --requirement "$lock" >&2 </dev/null
  # Every dependency is there: nothing is resolved or downloaded any more.
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --no-build-isolation --editable . >&2 </dev/null
  # The first start need not wait for this, also where Python may not write while it runs.
  "$VENV/bin/python" -m compileall -q trayproxy >&2 </dev/null
  fingerprint "$lock" >"$VENV/installed-${lock##*/}"
}
