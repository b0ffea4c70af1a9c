#!/bin/sh
# Installs what the clients of one language need: install.sh js (later: celery, java, go).
#
# A machine without the language's tool, or out of reach of its packages, is told so, and the tests of that language
# skip; with TRUNKLINE_REQUIRE_TOOLS=1 both are failures, as the tests' skips are (tests/support/tools.py).
set -u
here=$(cd "$(dirname "$0")" && pwd)

without() {
    echo "consumers: $1; the tests of $language clients will be skipped" >&2
    [ "${TRUNKLINE_REQUIRE_TOOLS:-}" = 1 ] && exit 1
    exit 0
}

language=$1
case $language in
js)
    command -v npm >/dev/null || without "there is no npm"
    npm ci --prefix "$here/js" --silent --no-audit --no-fund || without "npm could not install the packages"
    touch "$here/js/node_modules/.installed"
    ;;
*)
    echo "install.sh: no clients in $language" >&2
    exit 2
    ;;
esac
