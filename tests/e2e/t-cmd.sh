# A command that runs on another host cannot tell, and neither can its parent:
# number, descriptors, folder, environment, limits, signals, terminal, status.
# timeout: 90
. "$E2E/lib.sh"

sprite lab up 3 --quiet || die "lab up"
for h in h1 h2 h3; do eventually 30 on $h true; done
on h1 mkdir -p /sprite/run || die "no /sprite"
run() { sprite lab exec -T -C /sprite/run h1 -- sprite run "$@"; }
eventually 30 run -h h2 true

step "it is there, and its status is ours"
is "host" h2 "$(run -h h2 uname -n)"
is "host" h3 "$(run -h h3 uname -n)"
status 0 run -h h2 true
status 7 run -h h2 sh -c 'exit 7'
status 143 run -h h2 sh -c 'kill -TERM $$'
status 127 run -h h2 no-such-program
status 126 run -h h2 /etc/passwd
status 125 run -h h9 true
says h9 run -h h9 true

step "what it inherits"
is "folder" /sprite/run "$(run -h h2 pwd)"
is "standard input" "a b" "$(echo 'a b' | run -h h2 cat)"
is "standard error" oops "$(run -h h2 sh -c 'echo oops >&2' 2>&1 >/dev/null)"
is "environment" yes "$(sprite lab exec -T h1 -- env SAID=yes sprite run -h h2 sh -c 'echo $SAID')"
is "umask" 0027 "$(on h1 sh -c 'umask 027; sprite run -h h2 sh -c umask')"
is "limits" 123 "$(on h1 sh -c 'ulimit -n 123; sprite run -h h2 sh -c "ulimit -n"')"
is "ignored signals" ignored "$(on h1 sh -c 'trap "" USR1; sprite run -h h2 sh -c "kill -USR1 \$\$; echo ignored"')"
is "user" "65534 65534" "$(on h1 setpriv --reuid 65534 --regid 65534 --clear-groups \
	sprite run -h h2 sh -c 'echo $(id -u) $(id -g)')"
on h1 sh -c 'sprite run -h h2 sh -c "echo from h2 >&3" 3>/sprite/run/three' || die "descriptor 3"
is "a file by descriptor" "from h2" "$(on h3 cat /sprite/run/three)"
is "big output" 1000000 "$(run -h h2 sh -c 'head -c 1000000 /dev/zero' | wc -c)"

step "one number"
# exec keeps the number, and so does going elsewhere.
is "its number" same "$(on h1 sh -c 'sh -c "echo \$\$; exec sprite run -h h2 sh -c \"echo \\\$\\\$\"" |
	{ read a; read b; [ "$a" = "$b" ] && echo same || echo "$a $b"; }')"

step "signals from home"
mkfifo "$T/out"
sprite lab exec -T h1 -- sprite run -h h2 sh -c 'trap "echo got it; exit 5" USR1
	echo $$; while :; do sleep 100 & wait $!; done' >"$T/out" &
job=$!
exec 9<"$T/out"
read -r pid <&9
on h1 sprite ps -a | grep -q "^ *$pid .* h1 *h2 " || die "ps does not show $pid away: $(on h1 sprite ps)"
on h3 sprite ps --json | json '["processes"]' | grep -q "'pid': $pid" || die "h3 does not see $pid"
status 0 on h1 kill -USR1 "$pid"
read -r word <&9
is "the handler's word" "got it" "$word"
wait $job; is "its exit" 5 $?
exec 9<&-
sprite lab exec -T h1 -- sprite run -h h2 sh -c 'echo $$; exec sleep 100' >"$T/out" &
job=$!
read -r pid <"$T/out"
status 0 on h3 sprite kill -9 "$pid"
wait $job; is "killed from a third host" 137 $?
status 3 on h1 sprite kill "$pid"

step "a terminal"
says '^24 80' sprite lab exec -t h1 -- sprite run -h h2 stty size
says '/dev/pts/' sprite lab exec -t h1 -- sprite run -h h2 tty

step "in the background"
pid=$(run -b -h h2 sh -c 'exec sleep 100 >/dev/null 2>&1')
on h1 sprite ps -a | grep -q "^ *$pid " || die "no $pid in ps"
status 0 on h1 sprite kill "$pid"

step "who may"
pid=$(run -b -h h2 sh -c 'exec sleep 100 >/dev/null 2>&1')
status 4 on h1 setpriv --reuid 65534 --regid 65534 --clear-groups sprite kill "$pid"
status 4 on h1 setpriv --reuid 65534 --regid 65534 --clear-groups sprite migrate "$pid" h3
status 4 on h1 setpriv --reuid 65534 --regid 65534 --clear-groups sprite evict
status 3 on h1 sprite migrate "$pid" h9
status 3 on h1 sprite migrate 4000000 h2
status 0 on h1 sprite kill -9 "$pid"
says "$pid" on h1 sprite explain "$pid"

step "hosts"
is "three hosts" 3 "$(on h2 sprite hosts --json | json '.__len__()')"
status 0 on h1 sprite explain h2

step "a host that is down"
status 0 sprite lab crash h3
status 125 run -h h3 true
status 0 run -h h2 true
