# Sets up a real CPython for Windows that runs under Wine. Sourced by packaging/wine/test, after
# packaging/setup.sh. All files are in $WINE_FOLDER; existing files are reused.
# shellcheck shell=bash

readonly WINE_FOLDER=$PWD/build/wine
readonly WINE=/usr/lib/wine/wine64
readonly COMPILER=x86_64-w64-mingw32-gcc-win32

export WINEPREFIX=$WINE_FOLDER/prefix WINEARCH=win64 WINEDEBUG=-all
# Disables .NET and Internet Explorer, which Wine offers to download; uses the stub libraries.
export WINEDLLOVERRIDES='mscoree,mshtml=;icuuc,mscms,bcryptprimitives=n'

# Prints the missing packages among Wine, a compiler for the three small libraries that Wine lacks, and an
# X server for the window.
missing_for_wine() { missing_packages wine64 gcc-mingw-w64-x86-64-win32 xvfb; }

require_x86_64() {
  [[ $(uname -m) == x86_64 ]] || give_up "The tests on Windows need an x86_64 processor; this is:" "$(uname -m)"
}

# Sets up the interpreter, the wheels and the stub libraries; the downloads run in parallel.
ensure_wine() {
  local wheels
  mkdir -p "$WINE_FOLDER"
  ensure_wheels &
  wheels=$!
  ensure_interpreter
  ensure_stubs
  [[ -d $WINEPREFIX ]] || windows_python -c '' 2>/dev/null
  wait "$wheels"
}

ensure_interpreter() {
  [[ -x $WINE_FOLDER/python/python.exe ]] && return
  say "Downloading CPython for Windows"
  rm -rf "$WINE_FOLDER/python" "$WINE_FOLDER/python.new"
  "$VENV/bin/python" packaging/wine/interpreter.py "$WINE_FOLDER/python.new"
  # Wine 8 lacks VariantToString, which `platform` needs to query the version of the system.
  printf 'import sys\n\nsys.modules["_wmi"] = None\n' >"$WINE_FOLDER/python.new/Lib/sitecustomize.py"
  chmod +x "$WINE_FOLDER/python.new/python.exe"
  mv "$WINE_FOLDER/python.new" "$WINE_FOLDER/python"
}

ensure_stubs() {
  local name
  for name in icuuc mscms bcryptprimitives; do
    [[ $WINE_FOLDER/python/$name.dll -nt packaging/wine/stubs/$name.c ]] ||
      "$COMPILER" -shared -o "$WINE_FOLDER/python/$name.dll" "packaging/wine/stubs/$name.c" -ladvapi32
  done
}

# Installs the wheels for Windows that packaging/locked/test.txt lists.
ensure_wheels() {
  local wanted
  wanted=$("$VENV/bin/python" packaging/wine/wheels.py packaging/locked/test.txt)
  [[ -f $WINE_FOLDER/wheels.txt && $(<"$WINE_FOLDER/wheels.txt") == "$wanted" ]] && return
  say "Downloading the wheels for Windows"
  rm -rf "$WINE_FOLDER/site" "$WINE_FOLDER/wheels.txt"
  printf '%s\n' "$wanted" >"$WINE_FOLDER/wheels.new"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
    --only-binary=:all: --platform win_amd64 --implementation cp --python-version 3.13 \
    --target "$WINE_FOLDER/site" --no-compile --requirement "$WINE_FOLDER/wheels.new" >&2 </dev/null
  mv "$WINE_FOLDER/wheels.new" "$WINE_FOLDER/wheels.txt"
}

# Prints a path in the form that Windows programs use under Wine.
windows_path() { printf 'Z:%s' "${1//\//\\}"; }

# Runs python.exe with the project and the wheels on its path. The bytecode is kept in $WINE_FOLDER; the
# wheels have none. Under Wine, CPython needs files or pipes as standard streams: otherwise it "can't
# initialize sys standard streams". Programs that python.exe starts may keep the pipe open; this function
# does not wait for them.
windows_python() {
  PYTHONPATH="$(windows_path "$PWD");$(windows_path "$WINE_FOLDER/site")" \
    PYTHONPYCACHEPREFIX="$(windows_path "$WINE_FOLDER/bytecode")" PYTHONUNBUFFERED=1 \
    "$WINE" "$WINE_FOLDER/python/python.exe" "$@" </dev/null > >(cat) 2>&1
}

# Starts an X server whose frame buffer the tests can read as a file.
start_screen() {
  local ready=$WINE_FOLDER/screen/ready
  rm -rf "$WINE_FOLDER/screen"
  mkdir -p "$WINE_FOLDER/screen"
  mkfifo "$ready"
  Xvfb -displayfd 3 -screen 0 1280x900x24 -nolisten tcp -fbdir "$WINE_FOLDER/screen" 3>"$ready" >/dev/null 2>&1 &
  XVFB=$!
  read -r DISPLAY <"$ready"
  export DISPLAY=:$DISPLAY
  TRAYPROXY_FRAME_BUFFER=$(windows_path "$WINE_FOLDER/screen/Xvfb_screen0")
  export TRAYPROXY_FRAME_BUFFER
}

# Ends all processes in $WINEPREFIX and the X server. Wine's own services would exit only seconds later.
stop_screen_and_wine() {
  "${WINE%wine64}wineserver64" -k 2>/dev/null || true
  kill "$XVFB" 2>/dev/null || true
  # Waits until the last output is written.
  wait
}
