#!/bin/bash
# t-fs.sh -- the namespace on several hosts at once: what one writes the others
# see, whatever they have cached, and whatever dies meanwhile.
# timeout: 300
. "$E2E/lib.sh"

DEADLINE=60
try=$SPRITE_TEST_PROGRAMS/fs_try
root=/tmp/sprite-$SPRITE_LAB/h1/state/root

all() { local h; for h in h1 h2 h3; do host $h "$@" & pids+=($!); done; }
done_all() { local p bad=0; for p in "${pids[@]}"; do wait "$p" || bad=1; done; pids=(); [ $bad = 0 ] || die "$1"; }
pids=()

step "three hosts come up and see the same tree"
sprite lab up 3 --quiet || die "the lab did not come up"
host h1 sh -c 'echo hello > /sprite/a'
for h in h2 h3; do is "what $h reads" hello "$(host $h cat /sprite/a)"; done

step "a change is seen at once, by who has cached the name and by who has not"
host h3 stat /sprite/b >/dev/null 2>&1 && die "b is there"
host h2 mv /sprite/a /sprite/b
is "the new name" hello "$(host h3 cat /sprite/b)"
status 1 host h3 cat /sprite/a
host h3 sh -c 'echo longer than before > /sprite/b'
is "the new content" "longer than before" "$(host h2 cat /sprite/b)"
is "the size" 19 "$(host h1 stat -c %s /sprite/b)"
host h1 rm /sprite/b
status 1 host h2 stat /sprite/b
ino=$(host h1 stat -c %i /sprite/tmp)
is "the inode's number on another host" "$ino" "$(host h2 stat -c %i /sprite/tmp)"
is "the mode of tmp" 1777 "$(host h2 stat -c %a /sprite/tmp)"
status 2 host h1 ls /sprite/.sprite

step "a program compiled on one host runs on the others"
host h2 sh -c 'cd /sprite && echo "int main(void) { return 42; }" > x.c && gcc -o x x.c' || die "no compiler works there"
for h in h1 h2 h3; do status 42 host $h /sprite/x; done
is "its time on both hosts" "$(host h1 stat -c %y /sprite/x)" "$(host h2 stat -c %y /sprite/x)"

step "three hosts create, rename, look at and unlink the same names"
host h1 mkdir /sprite/race
all "$try" names /sprite/race x 200; done_all "the race failed"

step "O_EXCL has one winner, O_APPEND loses nothing, locks count"
host h1 mkdir /sprite/excl
for h in h1 h2 h3; do host $h "$try" excl /sprite/excl 100 >"$T/won.$h" & pids+=($!); done; done_all "excl failed"
is "names won" 100 "$(cat "$T"/won.* | awk '{ n += $1 } END { print n }')"
all "$try" append /sprite/log x 100; done_all "append failed"
for h in h1 h3; do host $h "$try" appended /sprite/log 300 || die "records are lost on $h"; done
for how in flock fcntl; do
	all "$try" count /sprite/count.$how 50 $how; done_all "$how failed"
	is "the sum under $how" 150 "$(host h2 cat /sprite/count.$how)"
done

step "written in place, read by a descriptor open since long: never an older version"
host h1 "$try" pingpong /sprite/turn /sprite/data 0 100 & pids+=($!)
host h2 "$try" pingpong /sprite/turn /sprite/data 1 100 & pids+=($!)
done_all "pingpong failed"

step "shared mappings"
host h2 "$try" mapped /sprite/map 200000 && host h3 "$try" check-mapped /sprite/map 200000 || die "h2 to h3"
host h1 "$try" mapped /sprite/map 300000 && host h3 "$try" check-mapped /sprite/map 300000 || die "h1 to h3"
host h3 "$try" mapped /sprite/map 100001 && host h1 "$try" check-mapped /sprite/map 100001 || die "h3 to h1"

step "rights are those of the caller, with all his groups"
host h1 sh -c 'mkdir -m 770 /sprite/team; chgrp 4242 /sprite/team; echo x > /sprite/team/f; chmod 660 /sprite/team/f; chgrp 4242 /sprite/team/f'
status 1 host h2 setpriv --reuid 1000 --regid 1000 --clear-groups cat /sprite/team/f
is "for a member of the group" x "$(host h2 setpriv --reuid 1000 --regid 1000 --groups 4242 cat /sprite/team/f)"
host h2 setpriv --reuid 1000 --regid 1000 --groups 4242 sh -c 'umask 077; echo mine > /sprite/team/g' || die "a member cannot create"
is "the owner" 1000:1000 "$(host h3 stat -c %u:%g /sprite/team/g)"

# A file held open on h2, removed by h1; lives until h2 closes it.
hold() {
	host h1 sh -c 'echo precious > /sprite/held'
	mkfifo "$T/ask"
	host h2 "$try" hold /sprite/held <"$T/ask" >"$T/told" &
	holder=$!
	exec 7>"$T/ask"
	eventually 20 grep -q open "$T/told"
	host h1 rm /sprite/held
}

step "an unlinked file lives while it is open, also over the death of its server"
hold
echo >&7; eventually 20 grep -q precious "$T/told"
sprite lab kill h1 fsd || die "cannot kill"
sprite lab start h1 fsd || die "cannot start"
echo >&7
eventually 30 sh -c '[ "$(grep -c precious "$1")" = 2 ]' - "$T/told"
[ -n "$(ls "$root/.sprite/orphans")" ] || die "it is not kept"
exec 7>&-
wait $holder || die "the holder failed"
eventually 20 sh -c '[ -z "$(ls "$1")" ]' - "$root/.sprite/orphans"

step "programs with open files go on when a fsd is killed, the server's and their own"
for h in h1 h2; do host $h "$try" steady /sprite/steady.$h 8 >/dev/null & pids+=($!); done
eventually 10 sh -c '[ -s "$1/steady.h1" ] && [ -e "$1/steady.h2" ]' - "$root"
sprite lab kill h1 fsd && sprite lab start h1 fsd || die "cannot restart h1's"
sprite lab kill h2 fsd && sprite lab start h2 fsd || die "cannot restart h2's"
done_all "a program with open files did not go on"

step "a host that is cut off is given up after a while; back, it has lost its caches"
host h3 sh -c 'echo old > /sprite/cut; cat /sprite/cut' >/dev/null
sprite lab cut h3 || die "cannot cut"
host h1 sh -c 'echo new > /sprite/cut' || die "the others wait for ever"
sprite lab heal h3 || die "cannot heal"
DEADLINE=60
eventually 60 sh -c '[ "$(timeout 20 sprite lab exec -T --host h3 -- cat /sprite/cut)" = new ]'

step "a full disk is told, and what was acknowledged is there"
sprite lab kill h1 fsd
host h1 mount -t tmpfs -o size=16m none /var/lib/sprite/root || die "no tmpfs"
sprite lab start h1 fsd || die "cannot start on another tree"
eventually 30 host h2 stat /sprite/tmp
for h in h1 h2; do
	n=$(host $h "$try" fill /sprite/full.$h) || die "full is not told on $h"
	[ "$n" -gt 1000000 ] || die "only $n bytes went in on $h"
	got=$(host h3 stat -c %s /sprite/full.$h)
	[ "$got" -ge "$n" ] || die "$n bytes were acknowledged, $got are there"
	host $h rm /sprite/full.$h
	eventually 10 sh -c '[ "$(timeout 20 sprite lab exec -T --host h1 -- df --output=pcent /sprite | tail -1 | tr -dc 0-9)" -lt 50 ]'
done
echo "all right"
