# Each daemon is killed without warning at each step of the main job: file work,
# a build, a process that is away, a migration, an eviction; a host crashes, is
# cut off and comes back; the disk under the export is full.  What was
# acknowledged is there, processes end as they should, and the lab goes on.
# timeout: 280
. "$E2E/lib.sh"
DEADLINE=60

P=$SPRITE_TEST_PROGRAMS
D=/sprite/faults

# fell h1/fsd: kill it, start it again.
fell() {
	sprite lab kill "${1%/*}" "${1#*/}" || die "kill $1"
	sprite lab start "${1%/*}" "${1#*/}" >"$T/start" 2>&1 || die "$1 does not start again: $(cat "$T/start")"
}

ended() { ! kill -0 "$1" 2>/dev/null; }

# mover_start [OPTION...]: a self-checking program, started from h1's world to
# run on h2; it ends with 42 when it has had as many signals as -n says.
mover_start() {
	rm -f "$T/mover.pid" "$T/mover.out"
	sprite lab exec -T h1 -- sh -c 'echo $$; exec sprite run -h h2 "$@"' sh $D/mover "$@" \
		>"$T/mover.pid" 2>"$T/mover.out" </dev/null &
	mover=$!
	eventually 20 test -s "$T/mover.pid"
	pid=$(cat "$T/mover.pid")
	eventually 20 is_at h2
}
where() { on h1 sprite ps --json 2>/dev/null | json "['processes']" | tr '}' '\n' | grep "'pid': $pid," | grep -o "'host': '[^']*'" | cut -d"'" -f4; }
is_at() { [ "$(where)" = "$1" ]; }
poke() { on h1 kill -USR1 "$pid" || die "no signal to $pid after $1"; }
# mover_ends WHEN [STATUS]
mover_ends() {
	local end=$((SECONDS + 45)) code
	while kill -0 $mover 2>/dev/null; do
		[ $SECONDS -le $end ] || die "the program did not end, $1: $(on h1 sprite ps 2>&1); $(on h1 sprite explain "$pid" 2>&1)"
		read -r -t 0.05 <> <(:) || :
	done
	wait $mover; code=$?
	[ $code = 42 ] || die "the program ended with $code, $1: $(cat "$T/mover.out"); $(on h1 sprite explain "$pid" 2>&1)"
}

step "three hosts"
sprite lab up 3 --quiet || die "lab up"
for h in h1 h2 h3; do eventually 30 on $h true; done
on h1 mkdir -p $D || die "no /sprite"
sprite lab exec -T h1 -- sh -c "cat >$D/mover && chmod 755 $D/mover" <"$P/mover" || die "the program"

step "file work"
writer='
import os, sys
f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
n = 0
while not os.path.exists(sys.argv[2]):
	n += 1
	b = b"%d\n" % n
	while b: b = b[os.write(f, b):]
	os.fsync(f)
	print(n, flush=True)'
# A writer of lines on each host; what it printed was acknowledged by fsync.
for h in h1 h2 h3; do
	: >"$T/ack.$h"
	sprite lab exec -T $h -- python3 -c "$writer" $D/log.$h $D/stop.$h >"$T/ack.$h" 2>"$T/err.$h" </dev/null &
	eval "writer_$h=$!"
done
lines() { wc -l <"$T/ack.$1"; }
more() { [ "$(lines "$1")" -ge "$2" ]; }
for h in h1 h2 h3; do eventually 30 more $h 5; done
for d in h1/named h1/hostdb h1/migd h2/migd h2/fsd h1/fsd; do
	echo "   $d"
	fell $d
	for h in h1 h2 h3; do
		eventually 30 more $h $(($(lines $h) + 5))
	done
done
step "file work: h3 is cut off for a moment"
sprite lab cut h3 || die "cut"
eventually 30 more h2 $(($(lines h2) + 5))
sprite lab heal h3 || die "heal"
eventually 45 more h3 $(($(lines h3) + 5))
for h in h1 h2 h3; do
	on h2 touch $D/stop.$h || die "touch"
	eval "job=\$writer_$h"
	eventually 30 ended $job
	wait $job; code=$?
	echo "   writer on $h: status $code, $(lines $h) lines, $(tail -n 1 "$T/err.$h")"
	n=$(lines $h)
	on h2 head -n "$n" $D/log.$h | cmp -s - "$T/ack.$h" || die "acknowledged lines of $h are missing or changed"
	[ $code = 0 ] || die "the writer on $h: $(cat "$T/err.$h")"
done
for h in h1 h2 h3; do
	status 0 on $h sh -c "echo $h >$D/after.$h"
	is "a file made afterwards" $h "$(on h2 cat $D/after.$h)"
done

step "a build"
sprite lab exec -T -C $D h1 -- sh -c 'cat >Makefile' <<'M' || die "Makefile"
O := 1.o 2.o 3.o 4.o 5.o 6.o
all: $(O) ; @cat $(O) >all
%.o: ; @touch began && sleep 0.4 && echo object $* >$@
clean: ; @rm -f *.o all began
M
build() { timeout -k 10 60 sprite lab exec -T -C $D h1 -- env XDG_CACHE_HOME=$D/cache sprite make -j "$@"; }
for d in h1/named h1/hostdb h2/migd h1/migd h2/fsd h1/fsd; do
	on h1 make -s -C $D clean || die "clean"
	build >"$T/build" 2>&1 &
	job=$!
	eventually 20 on h1 test -e $D/began
	fell $d
	wait $job; code=$?
	echo "   $d: status $code $(grep -v '^make: Entering' "$T/build" | tail -n 2 | tr '\n' ' ' | cut -c1-200)"
	[ $code != 124 ] || die "the build hangs after $d: $(cat "$T/build")"
	if [ $code != 0 ]; then
		grep -q . "$T/build" || die "the build failed without a word after $d"
		build >"$T/build" 2>&1 || die "it cannot be built again after $d: $(cat "$T/build")"
	fi
	is "what was built ($d)" "1 2 3 4 5 6" "$(on h1 cat $D/all | cut -d' ' -f2 | xargs)"
done

step "a process that is away"
mover_start -t 500 -m 16 -n 5 -f $D/mover.data
for d in h1/named h1/hostdb h1/fsd h2/migd h1/migd; do
	echo "   $d"
	fell $d
	eventually 30 is_at h2
	poke $d
done
mover_ends "away"
mover_start -t 500 -m 16 -n 1
fell h2/fsd
eventually 30 is_at h2
poke h2/fsd
mover_ends "away, fsd of its host killed"

step "during a migration"
for d in h1/named h1/hostdb h1/fsd h2/fsd h1/migd h2/migd h3/migd; do
	mover_start -t 500 -m 32 -n 1
	on h1 sprite migrate "$pid" h3 >"$T/move" 2>&1 &
	move=$!
	fell $d
	eventually 60 ended $move
	wait $move; code=$?
	echo "   $d: status $code $(tail -n 1 "$T/move" | cut -c1-200), then at $(where)"
	[ $code -le 6 ] || die "migrate ended with $code after $d: $(cat "$T/move")"
	[ $code = 0 ] || grep -q sprite: "$T/move" || die "migrate does not say why: $(cat "$T/move")"
	somewhere() { [ "$(where | wc -w)" = 1 ]; }
	eventually 30 somewhere
	poke $d
	mover_ends "moved, $d killed"
done

step "during an eviction"
for d in h1/hostdb h1/fsd h1/migd h2/migd; do
	mover_start -t 500 -m 32 -n 1
	sprite lab console h2 || die "console"
	fell $d
	left_h2() { w=$(where); [ -n "$w" ] && [ "$w" != h2 ]; }
	eventually 30 somewhere
	echo "   $d: at $(where)"
	poke $d
	mover_ends "evicted, $d killed"
done

step "the visited host is cut off and heals; a host crashes"
mover_start -t 500 -m 16 -n 1
sprite lab cut h2 || die "cut"
told 5 'h2' on h1 sprite ps
told 125 'h2' on h1 sprite run -h h2 true
sprite lab heal h2 || die "heal"
eventually 45 is_at h2
poke heal
mover_ends "cut and healed"
mover_start -t 500 -m 16 -n 1
sprite lab crash h3 || die "crash"
told 125 'h3' on h1 sprite run -h h3 true
on h1 sprite migrate "$pid" h3 >"$T/move" 2>&1; code=$?
[ $code = 5 ] || [ $code = 6 ] || die "migrate to a dead host ended with $code: $(cat "$T/move")"
sprite lab crash h2 || die "crash"
eventually 60 ended $mover
wait $mover; code=$?
is "its host crashed: status" 137 $code
says 'h2' on h1 sprite explain "$pid"
for h in h2 h3; do
	sprite lab start $h || die "start"
	eventually 30 on $h cat $D/after.h1
done

step "a full disk under the export"
full=${SPRITE_LAB}f
sprite lab up 2 --bare --quiet --name "$full" || die "lab"
fon() { local h=$1; shift; timeout -k 10 60 sprite lab exec -T --name "$full" "$h" -- "$@"; }
sprite lab exec -T --host --name "$full" h1 -- sh -c 'mkdir -p /var/lib/sprite/root &&
	mount -t tmpfs -o size=6m,mode=755 export /var/lib/sprite/root' || die "mount"
sprite lab up 2 --quiet --name "$full" || die "up on a small disk"
fon h2 sh -c 'echo kept >/sprite/kept && sync /sprite/kept' || die "the first file"
says 'No space left' fon h2 dd if=/dev/zero of=/sprite/big bs=1M count=20 conv=fsync
says 'No space left' fon h1 dd if=/dev/zero of=/sprite/big1 bs=1M count=20 conv=fsync
is "what was acknowledged" kept "$(fon h1 cat /sprite/kept)"
status 0 fon h2 sprite hosts
status 0 fon h1 sh -c 'rm -f /sprite/big /sprite/big1'
room() { fon h2 sh -c 'echo again >/sprite/again && sync /sprite/again'; }
eventually 20 room
is "room again" again "$(fon h1 cat /sprite/again)"
status 0 sprite lab down --name "$full"

step "down, with daemons missing"
sprite lab kill h1 named; sprite lab kill h2 fsd; sprite lab kill h3 migd
status 0 sprite lab down
