# lib.sh -- what the end-to-end tests share; sourced by each.
#
# A test says what it is about to show (step), and dies with a sentence at the
# first thing that is not so.

set -u
cd /   # the folder of the caller need not exist in a world

step() { echo "-- $*"; }
die() { echo "FAILED: $*"; exit 1; }

# on h2 CMD...: in the world of a host; host h2 CMD...: outside its world.
# DEADLINE, if a test sets it, is how many seconds each may take.
on() { local h=$1; shift; ${DEADLINE:+timeout -k 10 "$DEADLINE"} sprite lab exec -T "$h" -- "$@"; }
host() { local h=$1; shift; ${DEADLINE:+timeout -k 10 "$DEADLINE"} sprite lab exec -T --host "$h" -- "$@"; }

# is WHAT EXPECTED ACTUAL
is() { [ "$2" = "$3" ] || die "$1: expected '$2', got '$3'"; }

# status CODE CMD...: it must end with exactly that exit status.
status() {
	local want=$1 got out; shift
	out=$("$@" 2>&1); got=$?
	[ "$got" = "$want" ] || die "'$*' ended with $got instead of $want: $out"
}

# says PATTERN CMD...: its output, both streams, matches.
says() {
	local pattern=$1 out; shift
	out=$("$@" 2>&1)
	grep -q -- "$pattern" <<<"$out" || die "'$*' did not say '$pattern' but: $out"
}

# told CODE PATTERN CMD...: it ends with that exit status after one sentence on
# standard error, which matches and can be shown on any terminal.
told() {
	local want=$1 pattern=$2 got out; shift 2
	out=$("$@" 2>&1 >/dev/null); got=$?
	[ "$got" = "$want" ] || die "'$*' ended with $got instead of $want: $out"
	[ "$(grep -c '' <<<"$out")" = 1 ] && [ ${#out} -gt 12 ] ||
		die "'$*' says not one sentence but: $out"
	LC_ALL=C grep -q '[[:cntrl:]]' <<<"$out" && die "'$*' sends control characters: $out"
	grep -q -- "$pattern" <<<"$out" || die "'$*' did not say '$pattern' but: $out"
}

# eventually SECONDS CMD...: it must succeed before the deadline.
eventually() {
	local end=$((SECONDS + $1)); shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -le $end ] || die "never true: $*"
		read -r -t 0.05 <> <(:) || :
	done
}

# A field of JSON on standard input: json '["hosts"][0]["up"]'
json() { python3 -c 'import json,sys; v = json.load(sys.stdin)'"$1"'; print(v if not isinstance(v, bool) else str(v).lower())'; }
