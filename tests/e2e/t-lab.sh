# The lab itself, without daemons: hosts are apart from the machine and from
# other labs, can be cut and healed, keep their quotas, run commands as if they
# were here, and leave nothing behind.
# timeout: 90
. "$E2E/lib.sh"

other=${SPRITE_LAB}b
listen='
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 7777)); s.listen(5); print("listening", flush=True)
while True:
	c, _ = s.accept(); c.sendall(sys.argv[1].encode()); c.close()'
ask='
import socket, sys
s = socket.create_connection((sys.argv[1], 7777), timeout=float(sys.argv[2]))
print(s.recv(100).decode())'

step "two labs side by side"
sprite lab up 3 --bare --quiet || die "lab up"
sprite lab up 2 --bare --quiet --name "$other" || die "second lab up"
is "host names" h2 "$(host h2 hostname)"
is "hosts of the second lab" 2 "$(sprite lab status --json --name "$other" | json '["hosts"].__len__()')"
says "^$other  *2  *2" sprite lab list
# Everything that must be gone at the end.
spaces=$(for p in $(cat /sys/fs/cgroup/cpu/sprite-"$SPRITE_LAB"*/*/cgroup.procs \
		/sys/fs/cgroup/sprite-"$SPRITE_LAB"*/*/cgroup.procs 2>/dev/null | sort -u); do
	readlink /proc/"$p"/ns/{net,pid,mnt,uts,ipc}; done | sort -u)
[ "$(wc -l <<<"$spaces")" -ge 35 ] || die "7 first processes with 5 namespaces each, but: $spaces"

step "each has its own network: the same address is another host"
mkfifo "$T/server" "$T/job"
sprite lab exec -T --host h1 -- python3 -c "$listen" one >"$T/server" &
server=$!
read -r line <"$T/server"
is "the server" listening "$line"
is "a neighbour's answer" one "$(host h3 python3 -c "$ask" h1 5)"
sprite lab exec -T --host --name "$other" h2 -- python3 -c "$ask" h1 5 2>/dev/null &&
	die "lab $other reaches the hosts of lab $SPRITE_LAB"
ip -o addr | grep -q 10.83.0. && die "the machine itself has an address of the lab"

step "a cut host is silent, a healed one answers"
status 0 sprite lab cut h3
is "cut in status" true "$(sprite lab status --json | json '["hosts"][2]["cut"]')"
host h3 python3 -c "$ask" h1 0.3 2>/dev/null && die "h3 is cut but reaches h1"
is "others go on" one "$(host h2 python3 -c "$ask" h1 5)"
status 0 sprite lab heal h3
is "healed" one "$(host h3 python3 -c "$ask" h1 5)"

step "private places"
host h1 sh -c 'echo x > /run/mine; echo y > /dev/shm/mine; echo z > /var/lib/sprite/mine'
status 1 host h2 sh -c 'test -e /run/mine || test -e /dev/shm/mine || test -e /var/lib/sprite/mine'
[ -e /run/mine ] || [ -e /dev/shm/mine ] || [ -e /var/lib/sprite/mine ] && die "a host's file is the machine's"
is "its own processes" 1 "$(host h2 sh -c 'ls -d /proc/[0-9]* | wc -l' | awk '{ print ($1 < 8) }')"

step "exit status and signals go through"
status 7 host h1 sh -c 'exit 7'
status 137 host h1 sh -c 'kill -9 $$'
status 127 host h1 no-such-program
status 126 host h1 /etc/passwd
status 125 on h1 true
is "standard input" abc "$(echo abc | host h1 cat)"
sprite lab exec -T --host h2 -- sh -c 'trap "exit 33" TERM; echo ready
	while :; do sleep 1000 & wait $!; done' >"$T/job" &
job=$!
read -r line <"$T/job"
is "the job" ready "$line"
kill -TERM $job
wait "$job"; is "its own exit at SIGTERM" 33 $?

step "a terminal of the host's own"
says '^/dev/pts/0' sprite lab exec -t --host h1 -- tty
says '^24 80' sprite lab exec -t --host h1 -- stty size

python3 - <<'PY' || die "an interactive shell inside"
import fcntl, os, pty, select, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
	os.execvp("sprite", ["sprite", "lab", "exec", "--host", "h1", "--",
		"bash", "--norc", "--noprofile"])
seen = b""
def until(what, seconds=15):
	global seen
	end = time.time() + seconds
	while what not in seen:
		if not select.select([fd], [], [], max(0, end - time.time()))[0]:
			sys.exit("no %r but %r" % (what, seen))
		try: got = os.read(fd, 4096)
		except OSError: got = b""
		if not got: sys.exit("ended before %r: %r" % (what, seen))
		seen += got
	seen = seen[seen.index(what) + len(what):]
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
os.write(fd, b"PS1='$ '; stty size; echo ok-$((1+1))\n"); until(b"33 99"); until(b"ok-2")
os.write(fd, b"(echo go-$((2+3)); exec sleep 100)\n"); until(b"go-5"); os.write(fd, b"\x03")
os.write(fd, b"echo rc=$?=\n"); until(b"rc=130=")
os.write(fd, b"(echo go-$((3+3)); exec sleep 100)\n"); until(b"go-6"); os.write(fd, b"\x1a"); until(b"Stopped")
os.write(fd, b"kill -9 %1\nexit 9\nexit 9\n")
_, st = os.waitpid(pid, 0)
sys.exit(0 if os.waitstatus_to_exitcode(st) == 9 else "status %d" % st)
PY

step "a console touch is seen there"
before=$(host h2 stat -c %Y.%y /run/sprite/console)
status 0 sprite lab console h2
[ "$before" != "$(host h2 stat -c %Y.%y /run/sprite/console)" ] || die "the console was not touched"

step "quotas"
sprite lab up 3 --bare --quiet --cpu 0.2 || die "setting a quota"
used() { sprite lab status --json | json '["hosts"][1]["cpu_secs"]'; }
a=$(used); host h2 timeout 1.5 sh -c 'while :; do :; done'; b=$(used)
awk -v a="$a" -v b="$b" 'BEGIN { u = (b - a) / 1.5; print "share", u; exit !(u > 0.05 && u < 0.30) }' ||
	die "a fifth of a CPU was $a .. $b s in 1.5 s"
status 0 sprite lab up 2 --bare --quiet --pin --name "${SPRITE_LAB}p"
is "CPUs of a pinned host" 1 "$(sprite lab exec -T --host --name "${SPRITE_LAB}p" h2 -- nproc)"
status 0 sprite lab down --name "${SPRITE_LAB}p"

step "crash and boot"
status 0 sprite lab crash h3
is "down" false "$(sprite lab status --json | json '["hosts"][2]["up"]')"
status 125 host h3 true
status 0 sprite lab start h3
is "up again" one "$(host h3 python3 -c "$ask" h1 5)"
is "its disk is kept" "$(sprite lab status --json | json '["dir"]')/h3/state" \
	"$(ls -d "$(sprite lab status --json | json '["dir"]')"/h3/state)"

step "wrong arguments are told"
status 2 sprite lab
status 2 sprite lab up
status 2 sprite lab up 0
status 2 sprite lab up 2 --cpu nan
status 2 sprite lab exec h1
status 2 sprite lab exec
status 2 sprite lab kill h1 smtpd
status 2 sprite lab up 2 --name 'a/b'
status 2 sprite lab frobnicate
status 3 sprite lab cut h9
status 3 sprite lab kill h1 fsd
status 3 sprite lab status --name "$SPRITE_LAB-none"
says 'lab up 4' sprite lab status --name "$SPRITE_LAB-none"
says 'usage: sprite lab exec' sprite lab exec --help

step "down leaves nothing"
status 0 sprite lab down
status 0 sprite lab down
is "the other lab lives" h1 "$(sprite lab exec -T --host --name "$other" h1 -- hostname)"
status 0 sprite lab down --name "$other"
wait "$server"; is "the server's end" 137 $?
[ -e "/tmp/sprite-$SPRITE_LAB" ] && die "the lab's folder is still there"
# The machine's own init buries a host's first process, in its own time.
no_space_used() {
	! for p in /proc/[0-9]*; do readlink "$p"/ns/{net,pid,mnt,uts,ipc}; done 2>/dev/null |
		sort -u | grep -Fxq -f <(echo "$spaces")
}
eventually 10 no_space_used
