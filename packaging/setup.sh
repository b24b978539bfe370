# Sourced by packaging/demo, packaging/test and other scripts: installs all dependencies that a bare
# Debian with python3 lacks. Missing packages are determined first, then installed or listed together. If
# nothing is missing, nothing is done, so that a second run is quick and needs no network.
# shellcheck shell=bash

readonly VENV=.venv

say() { printf '%s\n' "$*" >&2; }

# Prints an error message and advice to stderr, and exits with 1.
#   $1    the message
#   $2..  lines of advice
give_up() {
  say "$1"
  shift
  for line in "$@"; do say "  $line"; done
  exit 1
}

# Unsets the environment variables of the caller's desktop session and proxy: programs started by these
# scripts must use neither the user's session nor, on loopback, the user's proxy.
forget_session() {
  unset DISPLAY WAYLAND_DISPLAY XAUTHORITY DBUS_SESSION_BUS_ADDRESS PYTHON_KEYRING_BACKEND
  # Programs without a bus address look for the bus in the runtime folder.
  unset XDG_RUNTIME_DIR XDG_CURRENT_DESKTOP XDG_SESSION_TYPE TRAYPROXY_HOME
  forget_proxies
}

forget_proxies() {
  unset http_proxy https_proxy ftp_proxy all_proxy no_proxy
  unset HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY
}

# Prints the command prefix that runs a command as root. Fails if the user may not become root.
as_root() {
  if [[ $(id -u) == 0 ]]; then
    printf 'env'
  elif sudo -n true 2>/dev/null; then
    printf 'sudo -n env'
  else
    return 1
  fi
}

# Prints the given packages that are not installed. `a|b` is missing if neither a nor b is installed; the
# first alternative that apt can install is printed, or the last if apt can install none of them.
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

# Installs Debian packages. If the user may not, prints the command that installs them and exits with 1.
#   $1    the purpose, completes "Packages for … are missing"
#   $2..  the missing packages
install_packages() {
  local purpose=$1 root
  shift
  local command="apt-get install -y --no-install-recommends $*"
  command -v apt-get >/dev/null || give_up "Packages for $purpose are missing. This system has no apt-get; install the equivalents of:" "$*"
  root=$(as_root) || give_up "Packages for $purpose are missing, and only an administrator may install them. Run this, then try again:" "sudo $command"
  say "Installing for $purpose: $*"
  # Word splitting is intended: $root is a command and its arguments.
  # shellcheck disable=SC2086
  $root DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 update >&2 </dev/null
  # shellcheck disable=SC2086
  $root DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 install -y \
    --no-install-recommends "$@" >&2 </dev/null
}

# Installs missing packages, if any. Callers pass all packages that a command needs at once, so that a
# user who may not install packages sees the complete list the first time.
#   $1    the purpose, completes "Packages for … are missing"
#   $2..  lists of missing packages, separated by blanks; a list may be empty
ensure_packages() {
  local purpose=$1 missing
  shift
  read -ra missing <<<"$*"
  [[ ${#missing[@]} == 0 ]] || install_packages "$purpose" "${missing[@]}"
}

# Prints the path of the first supported Python among $PYTHON, python3 and python3.11 to python3.14.
# Fails if there is none.
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

# Prints the Python of the virtual environment, or the Python that will create it.
python_for_venv() {
  if "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
    printf '%s' "$VENV/bin/python"
  else
    find_python
  fi
}

# Exits with advice if there is no supported Python.
require_python() {
  python_for_venv >/dev/null || give_up "TrayProxy needs Python 3.11 to 3.14. Debian 12 and newer have it:" "sudo apt-get install python3"
}

# Prints the missing packages for a virtual environment: Debian ships ensurepip in a separate package.
missing_for_venv() {
  "$(python_for_venv)" -c 'import ensurepip, venv' 2>/dev/null || missing_packages python3-venv
}

# Prints the missing packages to build the packages of a lock file: the Kerberos packages have no wheels
# for Linux.
#   $1  the lock file
missing_for_lock() {
  is_up_to_date "$1" && return
  grep -q '^krb5==' "$1" || return 0
  missing_packages gcc libc6-dev libkrb5-dev
  # A Python built from source includes its headers; Debian ships the headers in a separate package.
  "$(python_for_venv)" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
    missing_packages python3-dev
}

# Prints the packages of the system libraries and fonts that Qt needs and that are missing.
missing_for_qt() {
  local missing
  missing=$("$(python_for_venv)" trayproxy/desktop/qt_libraries.py)
  if [[ -z $missing ]] && ! has_fonts; then missing=fonts-dejavu-core; fi
  printf '%s' "$missing"
}

has_fonts() { compgen -G '/usr/share/fonts/*/*' >/dev/null || compgen -G "${HOME:-/root}/.fonts/*" >/dev/null; }

# Creates the virtual environment in $VENV unless it is usable already.
ensure_venv() {
  "$VENV/bin/python" -c 'import pip' 2>/dev/null && return
  local python
  python=$(find_python)
  say "Creating the virtual environment $VENV with $("$python" --version)"
  "$python" -m venv --clear "$VENV" >&2
}

# Prints the fingerprint of a lock file and pyproject.toml, which identifies the installed state.
#   $1  the lock file
fingerprint() { cat "$1" pyproject.toml | sha256sum; }

# Succeeds if the packages of the current lock file are installed in $VENV.
#   $1  the lock file
is_up_to_date() {
  local stamp=$VENV/installed-${1##*/}
  [[ -f $stamp && $(<"$stamp") == "$(fingerprint "$1")" && -x $VENV/bin/trayproxy ]]
}

# Prints a lock file without the Kerberos packages, which must be compiled, and without the Qt packages.
# The remaining packages have wheels for every system.
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
  say "Installing TrayProxy and the packages of $lock into $VENV"
  # Speed does not matter here: compiling without optimisation takes a third of the time.
  CFLAGS="-O0 -g0" "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --requirement "$lock" >&2 </dev/null
  # All dependencies are installed: pip must not resolve or download anything.
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --no-build-isolation --editable . >&2 </dev/null
  # Compiles the bytecode in advance: the first start is faster, even if Python may not write bytecode later.
  "$VENV/bin/python" -m compileall -q trayproxy >&2 </dev/null
  fingerprint "$lock" >"$VENV/installed-${lock##*/}"
}
