# Pseudo-devices: a program on one host serves a name, programs on others open
# it as a file; the server hangs, dies, is doubled; migd answers status.
# timeout: 180
. "$E2E/lib.sh"

P=$SPRITE_TEST_PROGRAMS
# server HOST NAME MODE: in the background; its output in $T/NAME.out, its PID
# in $pid, that of the command that carries it in $server.
server() {
	local out=$T/${2##*/}.out
	: >"$out"
	on "$1" "$P/pdev_server" "$2" "$3" >"$out" 2>&1 </dev/null &
	server=$!
	eventually 20 grep -q serving "$out"
	pid=$(sed -n 's/^serving //p' "$out")
}
# stop HOST SIGNAL: end the server.
stop() { on "$1" kill "-$2" "$pid"; wait $server 2>/dev/null; }

step "three hosts"
sprite lab up 3 --quiet || die "lab up"
for h in h1 h2 h3; do eventually 20 on $h true; done

step "status of a host, read on the others"
for h in h1 h2 h3; do
	eventually 20 on $h grep -q '^host h2' /sprite/hosts/h2/status
done
on h3 timeout 60 "$P/pdev_client" /sprite/hosts/h2/status status >"$T/status.out" 2>&1 </dev/null &
watcher=$!
eventually 20 grep -q 'cpus [1-9]' "$T/status.out"
status 0 sprite lab console h2
wait $watcher || die "status: $(cat "$T/status.out")"
says changed cat "$T/status.out"
says 'status' on h3 ls /sprite/hosts/h1

step "a name without a server"
says 'No such file' on h2 cat /sprite/svc/echo

step "served on h1, used on h2, h3 and h1"
server h1 /sprite/svc/echo echo
says '^echo$' on h2 ls /sprite/svc
for h in h2 h3 h1; do
	status 0 on $h timeout 30 "$P/pdev_client" /sprite/svc/echo echo
	status 0 on $h timeout 30 "$P/pdev_client" /sprite/svc/echo two $h
done
status 0 on h2 timeout 30 "$P/pdev_client" /sprite/svc/echo interrupt
status 0 on h2 sh -c 'echo through the shell >/sprite/svc/echo'
balanced() { [ "$(grep -c open "$T/echo.out")" = "$(grep -c close "$T/echo.out")" ]; }
eventually 10 balanced

step "who is not root: svc is for everybody, hosts is not; permissions hold"
on h1 cp "$P/pdev_server" "$P/pdev_client" /sprite/tmp/ || die "cp"
nobody() { local h=$1; shift; on "$h" setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
says 'only root' nobody h2 /sprite/tmp/pdev_server /sprite/hosts/h2/x echo
says 'belongs to host h1' on h2 "$P/pdev_server" /sprite/hosts/h1/x echo
says 'no place' on h2 "$P/pdev_server" /tmp/x echo
status 0 nobody h3 timeout 30 /sprite/tmp/pdev_client /sprite/svc/echo two h3
says 'errno 13' nobody h3 /sprite/tmp/pdev_client /sprite/hosts/h1/status open
says 'errno 0' nobody h3 /sprite/tmp/pdev_client /sprite/svc/echo open
is "mode of status" 444 "$(on h3 stat -c %a /sprite/hosts/h1/status)"

step "the cable is pulled for a moment: nothing is lost or done twice"
on h2 timeout 60 "$P/pdev_client" /sprite/svc/echo pump 4 >"$T/pump.out" 2>&1 </dev/null &
pump=$!
eventually 20 grep -q pumping "$T/pump.out"
status 0 sprite lab cut h2
status 0 sprite lab heal h2
wait $pump || die "pump: $(cat "$T/pump.out")"

step "a second server is refused, here and elsewhere"
status 3 on h1 "$P/pdev_server" /sprite/svc/echo echo
says 'already' on h2 "$P/pdev_server" /sprite/svc/echo echo
status 3 on h2 "$P/pdev_server" /sprite/svc/echo echo

step "the server ends: its clients get errors, its name is free"
says 'errno 0' on h2 "$P/pdev_client" /sprite/svc/echo open
stop h1 TERM
gone() { on h2 "$P/pdev_client" /sprite/svc/echo open | grep -q 'errno 2'; }
eventually 10 gone

step "killed in the middle of a read"
server h1 /sprite/svc/hold hold
on h2 timeout 60 "$P/pdev_client" /sprite/svc/hold read >"$T/read.out" 2>&1 &
reader=$!
eventually 20 grep -q holding "$T/hold.out"
stop h1 KILL
wait $reader || die "the reader: $(cat "$T/read.out")"
says '^errno 5 ' cat "$T/read.out"
server h3 /sprite/svc/hold echo
status 0 on h2 timeout 30 "$P/pdev_client" /sprite/svc/hold echo
stop h3 TERM

step "a server that hangs costs its timeout, not more"
server h1 /sprite/svc/hang hang
out=$(on h2 timeout 60 "$P/pdev_client" /sprite/svc/hang read)
says '^errno 110 after [12][0-9][0-9][0-9] ms' echo "$out"
stop h1 KILL

step "the client's host dies: the server is told"
server h1 /sprite/svc/echo echo
on h3 "$P/pdev_client" /sprite/svc/echo hold 100 >"$T/hold3.out" 2>&1 </dev/null &
holder=$!
eventually 20 grep -q open "$T/hold3.out"
status 0 sprite lab crash h3
eventually 60 grep -q close "$T/echo.out"
wait $holder 2>/dev/null
stop h1 TERM

step "migd killed and started: status is answered again"
status 0 sprite lab kill h2 migd
silent() { ! on h1 cat /sprite/hosts/h2/status; }
eventually 20 silent
status 0 sprite lab start h2 migd
eventually 20 on h1 grep -q '^host h2' /sprite/hosts/h2/status

step "fsd killed and started: so it is"
status 0 sprite lab kill h2 fsd
status 0 sprite lab start h2 fsd
eventually 30 on h1 grep -q '^host h2' /sprite/hosts/h2/status

step "the keeper of the names is killed: open streams go on, the name comes back"
server h2 /sprite/svc/far echo
sprite lab start h3 >/dev/null; eventually 20 on h3 true
on h3 timeout 60 "$P/pdev_client" /sprite/svc/far pump 4 >"$T/pump.out" 2>&1 </dev/null &
pump=$!
eventually 20 grep -q pumping "$T/pump.out"
status 0 sprite lab kill h1 fsd
status 0 sprite lab start h1 fsd
wait $pump || die "pump: $(cat "$T/pump.out")"
eventually 20 on h3 timeout 30 "$P/pdev_client" /sprite/svc/far echo
stop h2 TERM

step "down"
status 0 sprite lab down
