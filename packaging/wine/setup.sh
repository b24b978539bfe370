# A real CPython for Windows, run by Wine: sourced by packaging/wine/test, after packaging/setup.sh.
# Everything lies in $BED, and what is there is not made again.
# shellcheck shell=bash

readonly BED=$PWD/build/wine
readonly WINE=/usr/lib/wine/wine64
readonly COMPILER=x86_64-w64-mingw32-gcc-win32

export WINEPREFIX=$BED/prefix WINEARCH=win64 WINEDEBUG=-all
# Without .NET and Internet Explorer, which Wine offers to download; with the stubs below.
export WINEDLLOVERRIDES='mscoree,mshtml=;icuuc,mscms,bcryptprimitives=n'

# Prints those of the packages that are missing: Wine, a compiler for the three small libraries that
# Wine lacks, and a screen for the window.
missing_for_wine() { missing_packages wine64 gcc-mingw-w64-x86-64-win32 xvfb; }

require_x86_64() {
  [[ $(uname -m) == x86_64 ]] || give_up "The tests on Windows need an x86_64 processor; this is:" "$(uname -m)"
}

# Makes all of it, the parts that are downloaded side by side.
ensure_bed() {
  local wheels
  mkdir -p "$BED"
  ensure_wheels &
  wheels=$!
  ensure_interpreter
  ensure_stubs
  [[ -d $WINEPREFIX ]] || windows_python -c '' 2>/dev/null
  wait "$wheels"
}

ensure_interpreter() {
  [[ -x $BED/python/python.exe ]] && return
  say "Downloading CPython for Windows"
  rm -rf "$BED/python" "$BED/python.new"
  "$VENV/bin/python" packaging/wine/interpreter.py "$BED/python.new"
  # Wine 8 lacks VariantToString, by which `platform` asks the system for its version.
  printf 'import sys\n\nsys.modules["_wmi"] = None\n' >"$BED/python.new/Lib/sitecustomize.py"
  chmod +x "$BED/python.new/python.exe"
  mv "$BED/python.new" "$BED/python"
}

ensure_stubs() {
  local name
  for name in icuuc mscms bcryptprimitives; do
    [[ $BED/python/$name.dll -nt packaging/wine/stubs/$name.c ]] ||
      "$COMPILER" -shared -o "$BED/python/$name.dll" "packaging/wine/stubs/$name.c" -ladvapi32
  done
}

# Installs the wheels for Windows that packaging/locked/test.txt lists.
ensure_wheels() {
  local wanted
  wanted=$("$VENV/bin/python" packaging/wine/wheels.py packaging/locked/test.txt)
  [[ -f $BED/wheels.txt && $(<"$BED/wheels.txt") == "$wanted" ]] && return
  say "Downloading the wheels for Windows"
  rm -rf "$BED/site" "$BED/wheels.txt"
  printf '%s\n' "$wanted" >"$BED/wheels.new"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
    --only-binary=:all: --platform win_amd64 --implementation cp --python-version 3.13 \
    --target "$BED/site" --no-compile --requirement "$BED/wheels.new" >&2 </dev/null
  mv "$BED/wheels.new" "$BED/wheels.txt"
}

# Writes a path as Windows programs know it under Wine.
windows_path() { printf 'Z:%s' "${1//\//\\}"; }

# Runs python.exe with the project and the wheels on its path. CPython needs standard streams that are
# a file or a pipe: with others it "can't initialize sys standard streams" under Wine. Programs that it
# starts may keep the pipe open; nobody waits for them here.
windows_python() {
  PYTHONPATH="$(windows_path "$PWD");$(windows_path "$BED/site")" \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    "$WINE" "$BED/python/python.exe" "$@" </dev/null > >(cat) 2>&1
}

# Starts an X server whose frame buffer the tests can read as a file.
start_screen() {
  local ready=$BED/screen/ready
  rm -rf "$BED/screen"
  mkdir -p "$BED/screen"
  mkfifo "$ready"
  Xvfb -displayfd 3 -screen 0 1280x900x24 -nolisten tcp -fbdir "$BED/screen" 3>"$ready" >/dev/null 2>&1 &
  XVFB=$!
  read -r DISPLAY <"$ready"
  export DISPLAY=:$DISPLAY
  TRAYPROXY_FRAME_BUFFER=$(windows_path "$BED/screen/Xvfb_screen0")
  export TRAYPROXY_FRAME_BUFFER
}

# Ends what runs in $WINEPREFIX, which Wine's own services do some seconds later, and the screen.
stop_screen_and_wine() {
  "${WINE%wine64}wineserver64" -k 2>/dev/null || true
  kill "$XVFB" 2>/dev/null || true
  # The last output.
  wait
}
