# timeout: 240
# t-migrate.sh -- processes that move while they run.
. "$E2E/lib.sh"

programs=$SPRITE_TEST_PROGRAMS

step "four hosts"
sprite lab up 4 || die "no lab"
eventually 10 on h1 test -w /sprite/tmp
for p in mover quiet; do
	on h1 sh -c "cat >/sprite/$p && chmod 755 /sprite/$p" <"$programs/$p" || die "cannot copy $p"
done

step "a program that checks itself moves ten times, with signals on the way"
on h1 sh -c 'cat >/sprite/ten.sh' <<'END'
cd /sprite
sprite run -h h2 ./mover -t 9000 -m 64 -f /sprite/mover.file -n 10 & p=$!
until sprite ps | grep -q "$p .*h2 .*mover"; do :; done
sleep 0.5
for h in h3 home h2 h4 h3 home h2 h3 h4 home; do
	sprite migrate $p $h || exit 3
	kill -USR1 $p
	sleep 0.5 # equal signals that wait together are one, as everywhere
done
wait $p; echo $? >/sprite/ten.rc
END
on h1 bash /sprite/ten.sh || die "a move failed"
is "status" 42 "$(on h1 cat /sprite/ten.rc)"

step "pipes go along, and not a byte is lost"
on h1 sh -c 'cat >/sprite/pipe.sh' <<'END'
lines() { i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i % 25)) = 0 ] && sleep $1; done; }
lines 0.03 | sprite run -h h2 cat >/sprite/pipe.out & p=$!
until sprite ps | grep -q "$p .*h2 .*cat"; do :; done
for h in h3 home h2 h4 home h3; do sprite migrate $p $h || exit 3; done
wait $p || exit 4
lines 0 | cmp - /sprite/pipe.out
END
on h1 bash /sprite/pipe.sh || die "pipe"

step "a shell with a pipeline moves as one"
on h1 sh -c 'cat >/sprite/tree.sh' <<'END'
i=0
while [ $i -lt 120 ]; do echo $i; i=$((i+1)); sleep 0.02; done |
	(s=0; while read x; do s=$((s+x)); done; [ $s = 7140 ] && exit 9)
END
on h1 sh -c 'cat >/sprite/trees.sh' <<'END'
sh /sprite/tree.sh & p=$!
sleep 0.2
for h in h2 h3 home h4 home; do sprite migrate $p $h || exit 3; done
wait $p; [ $? = 9 ]
END
on h1 bash /sprite/trees.sh || die "tree"

step "what cannot move says why and goes on"
on h1 sh -c 'cat >/sprite/refuse.sh' <<'END'
rm -f /sprite/refuse.ready
/usr/bin/python3 -c '
import socket, time
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
open("/sprite/refuse.ready", "w")
time.sleep(4)' & p=$!
until [ -e /sprite/refuse.ready ]; do :; done
sprite migrate $p h2 2>&1 | tee /sprite/refuse.out | grep -q "cannot be carried\|descriptor" || exit 1
sprite explain $p | grep -q "cannot move" || exit 2
wait $p
END
on h1 bash /sprite/refuse.sh || { on h1 cat /sprite/refuse.out; die "refusal"; }
says "no process" on h1 sprite migrate 12345 h2
says "there is no host" on h1 sh -c 'sleep 2 & sprite migrate $! h99'

step "an owner comes back: guests stop at once and go"
on h1 sh -c 'cat >/sprite/evict.sh' <<'END'
cd /sprite
sprite run -h h2 ./mover -t 5000 -m 16 -f /sprite/m1 & a=$!
sprite run -h h2 sh -c 'for i in 1 2 3 4 5 6 7 8 9; do sleep 0.3; done; exit 7' & b=$!
until [ $(sprite ps | grep -c "h2 .*\(mover\|sh -c for\)") -ge 2 ]; do :; done
sleep 0.4
>/sprite/evict.go
wait $a; ra=$?; wait $b; echo $ra $? >/sprite/evict.rc
END
on h1 bash /sprite/evict.sh &
waiting=$!
eventually 10 on h1 test -e /sprite/evict.go
sprite lab console h2
eventually 20 on h1 sh -c '! sprite ps | grep -q " h[2] .*mover"'
wait $waiting
is "statuses" "42 7" "$(on h1 cat /sprite/evict.rc)"
grep -h "guests sent away" /tmp/sprite-"$SPRITE_LAB"/h2/state/log/sprite-migd.log | tail -1

step "migd is killed at home and there; the next ones know everything"
on h1 sh -c 'cat >/sprite/adopt.sh' <<'END'
cd /sprite
sprite run -h h3 ./mover -t 6000 -m 16 -f /sprite/m2 & a=$!
sprite run -h h3 sh -c 'sleep 1; exit 8' & b=$!
until [ $(sprite ps | grep -c "h3 .*\(mover\|sh -c sleep\)") -ge 2 ]; do :; done
>/sprite/adopt.go
until [ -e /sprite/adopt.again ]; do sleep 0.05; done
wait $b; rb=$?
sprite migrate $a h4 || echo failed
wait $a; echo $? $rb >/sprite/adopt.rc
END
on h1 bash /sprite/adopt.sh &
waiting=$!
eventually 10 on h1 test -e /sprite/adopt.go
sprite lab kill h3 migd; sprite lab kill h1 migd
sprite lab start h3 migd || die "start"
sprite lab start h1 migd || die "start"
eventually 10 on h1 sprite ps
on h1 touch /sprite/adopt.again
wait $waiting
is "statuses" "42 8" "$(on h1 cat /sprite/adopt.rc)"

step "nothing is left behind"
eventually 10 on h1 sh -c '! sprite ps | grep -q " h[234] "'
