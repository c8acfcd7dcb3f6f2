# timeout: 120
# t-run.sh -- a command on another host behaves as if it ran here: output,
# input, exit status, signals, terminal, place in the tree of processes.
. "$E2E/lib.sh"

step "three hosts"
sprite lab up 3 || die "no lab"
eventually 10 on h1 test -w /sprite/tmp

step "it runs there, and its status comes back"
is "host name" h2 "$(on h1 sprite run -h h2 hostname)"
status 7 on h1 sprite run -h h3 sh -c 'exit 7'
status 0 on h1 sprite run -h h2 true
status 127 on h1 sprite run -h h2 /no/such/program
status 126 on h1 sprite run -h h2 /etc/passwd
says "there is no host" on h1 sprite run -h nowhere true

step "a caller outside of the world, and a run at home"
is "host name" h2 "$(host h1 sprite run -h h2 hostname)"
status 9 host h1 sprite run -h h2 sh -c 'exit 9'
status 4 host h1 sprite run --here sh -c 'exit 4'

step "death by a signal is death by that signal"
is "status" 143 "$(on h1 sh -c 'sprite run -h h2 sh -c "kill -TERM \$\$"; echo $?' 2>/dev/null | tail -1)"
is "status" 137 "$(on h1 sh -c 'sprite run -h h2 sh -c "kill -KILL \$\$"; echo $?' 2>/dev/null | tail -1)"

step "argument, environment, folder, umask, limits, PID and parent"
cat >"$T/env.sh" <<'END'
cd /sprite; umask 027; ulimit -n 77
export COLOR="deep blue"
sprite run -h h2 sh -c 'echo "$COLOR|$(pwd)|$(umask)|$(ulimit -n)|$1|$PPID"' sh 'a  b' >/sprite/env.out
echo "deep blue|/sprite|0027|77|a  b|$$" | cmp - /sprite/env.out
END
cp "$T/env.sh" /tmp/sprite-"$SPRITE_LAB"/ 2>/dev/null
on h1 sh -c "cat >/sprite/env.sh" <"$T/env.sh" || die "cannot write"
on h1 sh /sprite/env.sh || die "something of the environment did not travel"

step "pipes: bytes, end of file, nobody reads, several numbers of one pipe"
is "cat" "hello" "$(echo hello | on h1 sprite run -h h2 cat)"
is "bytes" 5000000 "$(on h1 sh -c 'head -c 5000000 /dev/zero | sprite run -h h2 cat | wc -c')"
is "sigpipe" "y 141" "$(on h1 bash -c 'sprite run -h h2 yes | head -1 | tr "\n" " "; echo ${PIPESTATUS[0]}')"
is "order" "a b c d" "$(on h1 sh -c 'sprite run -h h2 sh -c "echo a; echo b >&2; echo c; echo d >&2" 2>&1' | tr '\n' ' ' | sed 's/ $//')"

step "files by name: position, appending, a position that others share"
on h1 sh -c 'printf "one\ntwo\n" >/sprite/in; sprite run -h h2 cat </sprite/in >/sprite/out; cmp /sprite/in /sprite/out' || die "file differs"
on h1 sh -c 'printf "0\n" >/sprite/app; (sprite run -h h2 echo 1; echo 2; sprite run -h h3 echo 3) >>/sprite/app; [ "$(tr "\n" " " </sprite/app)" = "0 1 2 3 " ]' || die "appending"
on h1 sh -c '(sprite run -h h2 echo 1; echo 2; sprite run -h h3 echo 3) >/sprite/tru; [ "$(tr "\n" " " </sprite/tru)" = "1 2 3 " ]' || die "shared position"

step "signals reach it, also through stop and continue"
on h1 sh -c 'cat >/sprite/sig.sh' <<'END'
sprite run -h h2 bash -c 'trap "echo usr1" USR1; trap "echo term; exit 5" TERM
	echo ready; while :; do sleep 0.05; done' >/sprite/sig.out &
p=$!
until grep -q ready /sprite/sig.out 2>/dev/null; do :; done
kill -USR1 $p
until grep -q usr1 /sprite/sig.out; do :; done
kill -TERM $p
wait $p; [ $? = 5 ] && grep -q term /sprite/sig.out
END
on h1 bash /sprite/sig.sh || die "a signal was lost"
on h1 sh -c 'cat >/sprite/kill.sh' <<'END'
sprite run -h h2 sleep 1000 & p=$!
until sprite ps | grep -q "$p .*h2 .*sleep 1000"; do :; done
kill -KILL $p; wait $p; [ $? = 137 ] || exit 1
while sprite ps | grep -q "sleep 1000"; do :; done
END
on h1 bash /sprite/kill.sh 2>/dev/null || die "killing the stub does not kill the process"
on h1 sh -c 'cat >/sprite/gkill.sh' <<'END'
sprite run -h h2 sleep 1000 & p=$!
until sprite ps | grep -q "$p .*h2 .*sleep 1000"; do :; done
sprite lab list >/dev/null 2>&1
sprite kill $p; wait $p; [ $? = 143 ]
END
on h1 bash /sprite/gkill.sh 2>/dev/null || die "sprite kill"

step "a terminal: size, input, end of file, interrupt, raw mode"
cat >"$T/terminal.py" <<'END'
import fcntl, os, pty, select, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp("sprite", ["sprite", "lab", "exec", "-t", "h1", "--", "bash", "--norc"])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
seen = b""
def wait(what):
    global seen
    end = time.time() + 15
    while what not in seen:
        if time.time() > end:
            sys.exit("never saw %r in %r" % (what, seen))
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 4096)
    seen = seen.split(what, 1)[1]
def say(text):
    os.write(fd, text)
say(b"PS1='pro''mpt '; bind 'set enable-bracketed-paste off' 2>/dev/null\n"); wait(b"prompt ")
say(b"sprite run -h h2 bash -c 'stty size; read x; echo got-$x; cat; echo e''nd'\n")
wait(b"33 99"); say(b"word\n"); wait(b"got-word"); say(b"\x04"); wait(b"end"); wait(b"prompt ")
say(b"sprite run -h h2 bash -c 'echo be''gun; exec sleep 100'\n"); wait(b"begun"); say(b"\x03"); wait(b"prompt ")
say(b"echo status-$?\n"); wait(b"status-130"); wait(b"prompt ")
say(b"sprite run -h h2 bash -c 'stty raw -echo; echo unco''oked; head -c 3 | od -An -c; stty sane; echo s''ane'\n")
wait(b"uncooked"); say(b"a\x03b"); wait(b"a 003   b"); wait(b"sane"); wait(b"prompt ")
say(b"sprite run -h h2 bash -c 'trap \"stty size\" WINCH; echo be''gun; while :; do sleep 0.05; done'\n")
wait(b"begun"); fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 88, 0, 0)); wait(b"44 88")
say(b"\x03"); wait(b"prompt ")
say(b"sprite run -h h2 sleep 100\n"); time.sleep(0.7); say(b"\x1a"); wait(b"Stopped"); wait(b"prompt ")
say(b"fg\n"); wait(b"sleep 100\r\n"); time.sleep(0.7); say(b"\x03"); wait(b"prompt ")
say(b"echo status-$?\n"); wait(b"status-130"); wait(b"prompt ")
say(b"exit\n")
os.waitpid(pid, 0)
END
python3 "$T/terminal.py" || die "the terminal"

step "an ordinary user: his ids, his rights"
on h1 sh -c 'mkdir -p /sprite/home && chmod 1777 /sprite/home'
is "ids" "1234 5678 5678 99" "$(on h1 setpriv --reuid 1234 --regid 5678 --groups 5678,99 sprite run -h h2 sh -c 'echo $(id -u) $(id -g) $(id -G)')"
is "owner" 1234 "$(on h1 sh -c 'setpriv --reuid 1234 --regid 5678 --clear-groups sprite run -h h2 touch /sprite/home/mine; stat -c %u /sprite/home/mine')"
on h1 sh -c 'cat >/sprite/own.sh' <<'END'
sprite run -h h2 sleep 1000 & p=$!
until sprite ps | grep -q "$p .*h2 .*sleep 1000"; do :; done
setpriv --reuid 1234 --regid 5678 --clear-groups sprite kill $p 2>&1 | grep -q "another user" || exit 1
setpriv --reuid 1234 --regid 5678 --clear-groups sprite migrate $p h3 2>&1 | grep -q "another user" || exit 2
setpriv --reuid 1234 --regid 5678 --clear-groups sprite evict h2 2>&1 | grep -q "root" || exit 3
kill $p; wait $p; :
END
on h1 bash /sprite/own.sh 2>/dev/null || die "another user's process is not protected"

step "a host that dies takes its processes along, and says so"
on h1 sh -c 'cat >/sprite/lost.sh' <<'END'
sprite run -h h3 sleep 1000 2>/sprite/lost.err & p=$!
until sprite ps | grep -q "$p .*h3 .*sleep 1000"; do :; done
>/sprite/lost.go
wait $p; echo $? >/sprite/lost.rc
END
on h1 bash /sprite/lost.sh 2>/dev/null &
waiting=$!
eventually 10 on h1 test -e /sprite/lost.go
sprite lab crash h3 || die "crash"
eventually 60 on h1 test -e /sprite/lost.rc
is "status" 137 "$(on h1 cat /sprite/lost.rc)"
says "h3 was lost" on h1 cat /sprite/lost.err
wait $waiting
