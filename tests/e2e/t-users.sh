# Who may do what to whom: an unprivileged user and another one, on their own
# host and through the cell; root may, others are told that they may not.
# timeout: 120
. "$E2E/lib.sh"
DEADLINE=60

# as USER HOST CMD...: USER is a number.
as() { local u=$1 h=$2; shift 2; on "$h" setpriv --reuid "$u" --regid "$u" --clear-groups "$@"; }
me=65534 other=65533

# away USER: a process of USER that runs on h2, its number in $pid.
away() {
	pid=$(as "$1" h1 sprite run -b -h h2 sh -c 'exec sleep 300 >&- 2>&-') || die "run -b as $1"
}
lives() { on h1 sprite ps --json | grep -q "\"pid\": *$1\\b"; }

step "three hosts"
sprite lab up 3 --quiet || die "lab up"
for h in h1 h2 h3; do eventually 30 on $h true; done

step "founding, joining, starting, stopping are root's"
for w in 'init' 'join sprite1-x' 'up' 'down' 'remove h3' 'lab up 1'; do
	told 4 'root\|sudo' as $me h1 sprite $w
done
told 4 . as $me h1 sprite token
status 0 host h1 setpriv --reuid $me --regid $me --clear-groups sprite status
for h in h1 h2 h3; do
	status 1 as $me $h test -r /var/lib/sprite/host.key
	status 1 as $me $h test -w /var/lib/sprite/host.conf
	status 1 as $me $h test -w /run/sprite
done
status 1 as $me h1 test -r /var/lib/sprite/named.db

step "looking is everybody's"
away 0
for w in ps hosts moves 'evict --log h2' "explain $pid" 'explain h2'; do
	status 0 as $me h1 sprite $w
	status 0 as $me h3 sprite $w
done

step "a process of root, asked for by another user on each host"
for h in h1 h2 h3; do
	told 4 'another user\|not permitted\|not yours' as $me $h sprite kill -9 $pid
	told 4 'another user\|not permitted\|not yours' as $me $h sprite kill -0 $pid
	told 4 'another user\|not permitted\|not yours' as $me $h sprite migrate $pid h3
	told 4 'another user\|not permitted\|not yours' as $me $h sprite migrate $pid home
	told 4 'root' as $me $h sprite evict
	told 4 'root' as $me $h sprite evict h2
	status 1 as $me $h sh -c "kill -9 $pid"
done
lives $pid || die "root's process was ended by another user"
status 0 on h3 sprite kill -9 $pid

step "users among themselves"
away $me
for h in h1 h2 h3; do
	told 4 'another user\|not permitted\|not yours' as $other $h sprite kill $pid
	told 4 'another user\|not permitted\|not yours' as $other $h sprite migrate $pid h3
done
lives $pid || die "a process was ended by another user"
status 0 as $me h1 sprite migrate $pid h3
status 0 as $me h2 sprite kill -0 $pid
status 0 on h2 sprite migrate $pid home
status 0 as $me h3 sprite kill $pid
gone() { ! lives $pid; }
eventually 20 gone

step "away it has the user's rights, not the visited host's"
is "ids" "$me $me" "$(as $me h1 sprite run -h h2 sh -c 'echo $(id -u) $(id -G)')"
is "capabilities" 0000000000000000 "$(as $me h1 sprite run -h h2 sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)"
status 1 as $me h1 sprite run -h h2 test -r /etc/shadow
status 1 as $me h1 sprite run -h h2 test -r /var/lib/sprite/host.key
told 126 . as $me h1 sprite run -h h2 /root/no-way-in
on h1 sh -c 'mkdir /sprite/bin; cp /bin/true /sprite/bin/rootonly; chmod 700 /sprite/bin/rootonly'
told 126 . as $me h1 sprite run -h h2 /sprite/bin/rootonly

step "files are protected on every host"
on h1 sh -c 'echo secret >/sprite/secret; chmod 600 /sprite/secret; mkdir -m 1777 /sprite/open'
for h in h1 h2 h3; do
	status 1 as $me $h cat /sprite/secret
	status 1 as $me $h sh -c 'echo x 2>/dev/null >>/sprite/secret || exit 1'
	status 1 as $me $h rm -f /sprite/secret
	status 1 as $me $h mkdir /sprite/mine
	status 1 as $me $h chmod 666 /sprite/secret
	as $me $h sh -c "umask 077; echo $h >/sprite/open/$h" || die "own file on $h"
	status 1 as $other h1 cat /sprite/open/$h
	status 1 as $other h3 rm -f /sprite/open/$h
	is "own file read elsewhere" $h "$(as $me h2 cat /sprite/open/$h)"
	is "its owner" $me "$(on h3 stat -c %u /sprite/open/$h)"
done
is "what is secret" secret "$(on h2 cat /sprite/secret)"
status 2 as $me h2 ls /sprite/.stream

step "down"
status 0 sprite lab down
