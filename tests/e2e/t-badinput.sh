# Wrong arguments, unknown hosts and processes, wrong tokens, damaged files and
# bytes that are no messages: a sentence and the documented exit status, and
# the cell goes on as if nothing had been said.
# timeout: 200
. "$E2E/lib.sh"
DEADLINE=60

long=$(printf 'x%.0s' {1..300})
evil=$'h2\e[31m\nx\177'

step "two hosts, and one that is in no cell"
sprite lab up 3 --quiet || die "lab up"
sprite lab up 1 --bare --quiet --name "${SPRITE_LAB}b" || die "bare lab"
alone() { timeout -k 10 60 sprite lab exec -T --host --name "${SPRITE_LAB}b" h1 -- "$@"; }
for h in h1 h2 h3; do eventually 30 on $h true; done
short=$(host h1 sprite token --minutes 1) || die "no token"
short_made=$SECONDS
daemons() { sprite lab status --json | json "[\"hosts\"]" | grep -o "'daemons': {[^}]*}"; }
before=$(daemons)

step "each verb explains itself"
verbs="init token join up down status remove run make ps hosts migrate evict kill explain moves lab"
for v in $verbs; do
	out=$(on h1 sprite $v --help) || die "$v --help ended with $?"
	grep -q "^[Uu]sage: sprite $v" <<<"$out" || die "$v --help: $out"
	[ $v = lab ] || grep -q 'example' <<<"$out" || die "$v --help has no example"
done
status 0 on h1 sprite --help
status 0 on h1 sprite --version
status 2 on h1 sprite
told 2 'sprite --help' on h1 sprite frobnicate
told 2 'sprite --help' on h1 sprite "$evil"

step "wrong options and arguments"
for v in init token join up down status remove run ps hosts migrate evict explain moves lab; do
	told 2 "sprite $v --help" on h1 sprite $v --frobnicate
done
for v in init token status ps hosts moves; do
	told 2 'one argument too many' on h1 sprite $v superfluous
done
for v in join remove run migrate kill explain; do
	told 2 'it needs' on h1 sprite $v
done
for w in 'migrate 16400' 'evict h1 h2' 'explain 16400 16401' 'kill -9' 'kill -s' \
	 'kill -FOO 16400' 'kill -65 16400' 'kill 1' 'kill 0' 'kill -- -1' 'kill 99999999999999999999' \
	 'kill 16400x' 'migrate 0 h2' 'migrate -1 h2' 'migrate x h2' 'migrate -s fly 16400 h2' \
	 'migrate 99999999999999999999 h2' 'migrate -s' 'moves -n 0' 'moves -n x' 'run -h' \
	 'run --here -h h2 true' 'make -j0' 'up smtpd' 'down smtpd' 'token --minutes 0' \
	 'token --minutes x' 'token --minutes 99999999999' 'init --pid-block 1' 'init --cell a/b' \
	 'join --name' 'remove a/b'; do
	told 2 . on h1 sprite $w
done
told 2 empty on h1 sprite run -h '' true
told 2 empty on h1 sprite migrate 16400 ''
told 2 empty on h1 sprite evict ''
told 2 . on h1 sprite explain ''
told 127 'not found' on h1 sprite run no-such-program
told 127 'not found' on h1 sprite run ''
told 126 . on h1 sprite run /etc/passwd
told 126 . on h1 sprite run /etc
told 125 'close some' on h1 bash -c 'ulimit -n 2000; for i in $(seq 10 400); do eval "exec $i</dev/null"; done; sprite run -h h2 true'

step "unknown hosts"
for h in h9 "$long" "$evil" ../h2 h2/ H2 10.83.0.2; do
	told 125 'there is no host' on h1 sprite run -h "$h" true
	told 3 'no host' host h1 sprite evict "$h"
	told 3 'no host' on h1 sprite evict --log "$h"
	told 3 'no host' on h1 sprite explain "$h-"
done
told 3 'no host' host h1 sprite remove h9
told 2 . host h1 sprite remove "$evil"

step "unknown processes"
# In nobody's block, in that of a host, in that of a host that never was, and
# the number of a daemon, which is not of the world.
for p in 4000000 20000 40000 1000000; do
	told 3 'no process' on h1 sprite kill $p
	told 3 'no process' on h1 sprite kill -- -$p
	told 3 'no' on h1 sprite explain $p
	told 3 'no process' on h1 sprite migrate $p h2
	told 3 'no' on h1 sprite migrate $p h9
	told 3 'no process' on h1 sprite migrate $p home
done
pid=$(on h1 sprite run -b --here sh -c 'exec sleep 300 >&- 2>&-') || die "run -b"
told 3 'no host' on h1 sprite migrate "$pid" h9
told 3 'no host' on h1 sprite migrate "$pid" "$evil"
says "$pid" on h1 sprite ps
status 0 on h1 sprite kill -9 "$pid"

step "a host that is in no cell"
for w in 'ps' 'hosts' 'moves' 'evict' 'kill 16400' 'explain 16400' 'explain h1' 'migrate 16400 h2' 'status' 'up' 'token'; do
	told 3 'sprite init\|sprite join' alone sprite $w
done
told 125 'sprite init\|sprite join' alone sprite run true
told 125 'no world\|sprite up\|lab up' sprite lab exec --name "${SPRITE_LAB}b" h1 -- true
status 0 alone sprite down

step "tokens: garbage, cut short, changed, used, of another cell"
token=$(host h1 sprite token) || die "no token"
# join TOKEN: as a host of its own, on the network of h2.
join() {
	local n=1
	while ! mkdir "$T/join$n" 2>/dev/null; do n=$((n + 1)); done
	host h2 env SPRITE_STATE="$T/join$n" sprite join --name "spare$n" --addr 10.83.0.$((100 + n)) "$1"
}
for n in 0 1 10 $((${#token} / 2)) $((${#token} - 5)) $((${#token} - 1)); do
	told 2 'sprite token' join "${token:0:n}"
done
told 2 'sprite token' join "$token$token"
told 2 'sprite token' join "$evil"
told 2 'sprite token' join "$long$long$long$long$long"
for n in 3 20 $((${#token} - 10)); do
	c=${token:n:1}; d=A; [ "$c" = A ] && d=B
	told 2 'sprite token' join "${token:0:n}$d${token:n+1}"
done
told 2 'standard input' join - </dev/null
status 0 join "$token"
told 4 'sprite token' join "$token"
told 4 'sprite token' join "$token"
alone sprite init --name h1 --addr 10.83.0.1 >/dev/null && alone sprite up named >/dev/null || die "second cell"
told 4 'sprite token' join "$(alone sprite token)"
told 6 'in a cell already' alone sprite init
told 6 'in a cell already' host h2 sprite join "$token"
alone sprite down >/dev/null || die "down of the second cell"
told 5 'sprite up' alone sprite token

step "joining a name server that is not there"
token=$(host h1 sprite token)
sprite lab kill h1 named || die "kill"
told 5 'sprite up' join "$token"
sprite lab start h1 named || die "start"
status 0 join "$token"
before=$(daemons)

step "bytes that are no messages"
noise='
import os, socket, struct, sys, errno
rnd = os.urandom
bodies = [b"", b"\0", b"\xff" * 65536, rnd(3), rnd(64), rnd(100000), b"GET / HTTP/1.0\r\n\r\n",
	struct.pack("<IHHI", 0xffffffff, 1, 0, 0) + rnd(500), struct.pack(">I", 16) + rnd(16),
	struct.pack("<I", 16) + rnd(16), struct.pack("<I", 0) * 64]
def try_at(s, to, b):
	s.settimeout(20)
	try:
		s.connect(to)
		for i in range(0, len(b), 7000): s.sendall(b[i:i + 7000])
		s.shutdown(socket.SHUT_WR)
		while s.recv(65536): pass
	except socket.timeout: sys.exit("%s neither answers nor ends %r..." % (to, b[:16]))
	except OSError as e:
		# The other side ended it, before or in the middle.
		if e.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN): raise
	finally: s.close()
for b in bodies:
	for port in (7710, 7711, 7712, 7713):
		try_at(socket.socket(), (sys.argv[1], port), b)
for name in ("named", "fsd", "migd", "hostdb"):
	for b in bodies:
		try_at(socket.socket(socket.AF_UNIX), "/run/sprite/%s.sock" % name, b)
# Connections that say nothing, many at once, and stay.
idle = [socket.create_connection((sys.argv[1], p), 20) for p in (7710, 7711, 7712, 7713) * 50]
print("tried", flush=True)
sys.stdin.read()'
host h1 python3 -c "$noise" 10.83.0.1 </dev/null || die "noise on h1"
# From another host only the ports are there.
host h3 sh -c 'rm -rf /run/empty; exec python3 -c "$1" 10.83.0.1' sh "${noise/\/run\/sprite/\/run\/empty}" </dev/null >"$T/noise" 2>&1
grep -q "empty\|No such file" "$T/noise" || die "noise from h3: $(cat "$T/noise")"
is "the daemons are the same" "$before" "$(daemons)"
status 0 on h2 sprite hosts
is "it works" h2 "$(on h1 sprite run -h h2 hostname)"
is "it works" 1 "$(on h1 sh -c 'echo 1 >/sprite/noise'; on h2 cat /sprite/noise)"

step "damaged files of a host"
state=$(sprite lab status --json | json '["dir"]')/h3/state
status 0 sprite lab kill h3
for f in host.conf host.key; do
	for how in missing empty cut garbage; do
		cp -p "$state/$f" "$T/$f"
		case $how in
		missing) rm "$state/$f" ;;
		empty) : >"$state/$f" ;;
		cut) head -c 20 "$T/$f" >"$state/$f" ;;
		garbage) head -c 300 /dev/urandom >"$state/$f" ;;
		esac
		out=$(host h3 sprite up 2>&1); code=$?
		[ $code -ge 1 ] && [ $code -le 6 ] || die "up with $f $how ended with $code: $out"
		grep -q "$f\|in no cell" <<<"$out" || die "up with $f $how does not say why: $out"
		[ "$(wc -l <<<"$out")" -le 3 ] || die "up with $f $how says too much: $out"
		cp -p "$T/$f" "$state/$f"
	done
done
status 0 sprite lab start h3
eventually 30 on h3 true
is "h3 works again" h3 "$(on h1 sprite run -h h3 hostname)"

step "a host that was removed is refused, and says so"
status 0 host h1 sprite remove h3
told 125 'no host' on h1 sprite run -h h3 true
told 3 'no host' host h1 sprite remove h3
refused() { ! host h3 sprite run -h h2 true; }
eventually 30 refused
out=$(host h3 sprite run -h h2 true 2>&1)
grep -q . <<<"$out" || die "the removed host does not say why"
is "the others go on" h2 "$(on h1 sprite run -h h2 hostname)"
status 0 host h3 sprite down --force
status 0 host h3 sh -c 'rm -r /var/lib/sprite/host.* /var/lib/sprite/*.cache'
status 0 host h3 sprite join --name h3 --addr 10.83.0.3 "$(host h1 sprite token)"
status 0 host h3 sprite up
eventually 30 on h3 true
back() { [ "$(on h1 sprite run -h h3 hostname)" = h3 ]; }
eventually 30 back

step "a token that is too old"
past() { [ $((SECONDS - short_made)) -gt 61 ]; }
eventually 65 past
told 4 'sprite token' join "$short"

step "down"
status 0 sprite lab down --name "${SPRITE_LAB}b"
status 0 sprite lab down
