#!/bin/sh
# Installs what the clients of one kind need: install.sh js | java | go | celery.
#
# A machine without the language's tool, or out of reach of its packages, is told so, and the tests of these clients
# skip; with REQUIRE_TOOLS=1 both are failures, as the tests' skips are (tests/support/tools.py).
set -u
here=$(cd "$(dirname "$0")" && pwd)
into=$here/../../.cache/consumers
kind=$1

without() {
    echo "consumers: $1; the tests of $kind clients will be skipped" >&2
    [ "${REQUIRE_TOOLS:-}" = 1 ] && exit 1
    exit 0
}

case $kind in
js)
    command -v npm >/dev/null || without "there is no npm"
    npm ci --prefix "$here/js" --silent --no-audit --no-fund || without "npm could not install the packages"
    touch "$here/js/node_modules/.installed"
    ;;
java)
    command -v mvn >/dev/null && command -v javac >/dev/null || without "there is no mvn, or no javac"
    rm -rf "$into/java"
    mvn --batch-mode --quiet --file "$here/java/pom.xml" dependency:copy-dependencies \
        -DoutputDirectory="$into/java" || without "mvn could not get the libraries"
    touch "$into/java/.installed"
    ;;
go)
    command -v go >/dev/null || without "there is no go"
    mkdir -p "$into/go"
    # What the tests build again is then in go's own cache, modules and compiled packages both.
    (cd "$here/go" && go build -o "$into/go/consumers" .) || without "go could not build the client"
    touch "$into/go/.installed"
    ;;
celery)
    rm -rf "$into/celery"
    "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --no-warn-conflicts --target "$into/celery" --requirement "$here/celery/requirements.txt" || without "pip could not install celery[sqs]"
    touch "$into/celery/.installed"
    ;;
*)
    echo "install.sh: no clients of the kind $kind" >&2
    exit 2
    ;;
esac
