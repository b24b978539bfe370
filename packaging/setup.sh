# Shared by packaging/demo and packaging/test, sourced by them: everything that a bare Debian 12 with
# python3 lacks. Each function looks first and does nothing when nothing is missing, so that a second
# run is quick and needs no network.
# shellcheck shell=bash

readonly VENV=.venv

# What PySide6's libraries load from the system; the wheel brings everything else. A system without
# any font shows empty boxes.
readonly QT_PACKAGES=(
  fonts-dejavu-core libdbus-1-3 libegl1 libfontconfig1 libgl1 libglib2.0-0 libx11-xcb1 libxcb-cursor0
  libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0
  libxcb-sync1 libxcb-xfixes0 libxcb-xkb1 libxkbcommon-x11-0 libxkbcommon0
)

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

# Prints those of the given packages that are not installed.
missing_packages() {
  local name
  for name in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -q '^installed' || printf '%s ' "$name"
  done
}

# Installs Debian packages.
#   $1    what for, completes "… is missing"
#   $2..  the packages that are missing
install_packages() {
  local purpose=$1 root
  shift
  local command="apt-get install -y --no-install-recommends $*"
  command -v apt-get >/dev/null || give_up "$purpose is missing. This system has no apt-get; install the counterparts of:" "$*"
  root=$(as_root) || give_up "$purpose is missing, and only an administrator may install it. Run this, then try again:" "sudo $command"
  say "Installing for $purpose: $*"
  # Word splitting is meant: $root is a command and its arguments.
  # shellcheck disable=SC2086
  $root DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 update >&2 </dev/null
  # shellcheck disable=SC2086
  $root DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 install -y \
    --no-install-recommends "$@" >&2 </dev/null
}

# Installs those of the given packages that are missing; the first argument says what for.
ensure_packages() {
  local purpose=$1 missing
  shift
  read -ra missing <<<"$(missing_packages "$@")"
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

# Makes the virtual environment in $VENV, or leaves a usable one.
ensure_venv() {
  "$VENV/bin/python" -c 'import pip' 2>/dev/null && return
  local python
  python=$(find_python) || give_up "TrayProxy needs Python 3.11 to 3.14. Debian 12 and newer have it:" "sudo apt-get install python3"
  # Debian has venv's installer of pip in a package of its own.
  "$python" -c 'import ensurepip, venv' 2>/dev/null || ensure_packages "Python's venv" python3-venv
  say "Making the virtual environment $VENV with $("$python" --version)"
  "$python" -m venv --clear "$VENV" >&2
}

# What Kerberos for Python is built with: it has no wheels for Linux.
ensure_builder() {
  ensure_packages "building Kerberos for Python" gcc libc6-dev libkrb5-dev
  # A Python of its own making brings its headers; Debian's has them in a package of their own.
  "$VENV/bin/python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
    ensure_packages "building Kerberos for Python" python3-dev
}

# Installs the locked packages and TrayProxy itself, editable, into $VENV.
#   $1  the lock file
ensure_trayproxy() {
  local lock=$1 stamp=$VENV/installed-${1##*/}
  local wanted
  wanted=$(cat "$lock" pyproject.toml | sha256sum)
  [[ -f $stamp && $(<"$stamp") == "$wanted" && -x $VENV/bin/trayproxy ]] && return
  if grep -q '^krb5==' "$lock"; then ensure_builder; fi
  say "Installing TrayProxy and what $lock lists into $VENV"
  # What must be compiled is tried, not raced: without optimisation it takes a third of the time.
  CFLAGS="-O0 -g0" "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --requirement "$lock" >&2 </dev/null
  # Every dependency is there: nothing is resolved or downloaded any more.
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --no-build-isolation --editable . >&2 </dev/null
  # The first start need not wait for this, also where Python may not write while it runs.
  "$VENV/bin/python" -m compileall -q trayproxy >&2 </dev/null
  printf '%s\n' "$wanted" >"$stamp"
}

# Prints the system libraries that Qt will not find.
missing_qt_libraries() {
  local qt
  qt=$("$VENV/bin/python" -c 'import PySide6; print(PySide6.__path__[0])')/Qt
  # Its own libraries are found by their place; ldd sees what is left to the system.
  ldd "$qt"/lib/libQt6{Core,Gui,Widgets,DBus,Svg}.so.6 "$qt"/plugins/platforms/libqxcb.so 2>/dev/null |
    awk '/not found/ { print $1 }' | sort -u | tr '\n' ' '
}

has_fonts() { compgen -G '/usr/share/fonts/*/*' >/dev/null || compgen -G "${HOME:-/root}/.fonts/*" >/dev/null; }

# Makes sure that Qt can show windows.
ensure_qt() {
  local missing
  missing=$(missing_qt_libraries)
  [[ -z $missing ]] && has_fonts && return
  ensure_packages "what Qt needs (${missing:-a font})" "${QT_PACKAGES[@]}"
  missing=$(missing_qt_libraries)
  [[ -z $missing ]] || give_up "Qt still lacks system libraries. Install the packages that have them:" "$missing"
}
