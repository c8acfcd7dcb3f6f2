# A cell is founded, joined, taken apart and repaired: tokens are good once,
# every daemon can be killed and started again, down unmounts and ends.
# timeout: 180
. "$E2E/lib.sh"

step "three hosts, all daemons"
sprite lab up 3 --quiet || die "lab up"
is "daemons of h1" "fsd hostdb migd named" "$(sprite lab status --json |
	json '["hosts"][0]["daemons"]' | grep -o "'[a-z]*'" | tr -d "'" | sort | xargs)"
for h in h1 h2 h3; do
	status 0 host $h sprite status
	is "$h is in the cell" "$SPRITE_LAB" "$(host $h sprite status --json | json '["cell"]')"
	eventually 20 on $h true
done

step "tokens"
status 6 host h2 sprite join "$(host h1 sprite token)"
status 2 host h2 sh -c 'rm -rf /tmp/j.$$; SPRITE_STATE=/tmp/j.$$ sprite join nonsense; r=$?; rm -rf /tmp/j.$$; exit $r'
status 5 host h2 sprite token
says 'sprite token' host h2 sprite token
used=$(host h1 sprite token)
join() { host h3 env SPRITE_STATE="$T/$1" sprite join --name "$1" --addr 10.83.0.99 "$2"; }
status 0 join spare "$used"
status 4 join second "$used"
says 'sprite token' join second "$used"
damaged=$(sed 's/.\(.\)$/\1/' <<<"$used")
status 2 join third "$damaged"
status 2 host h1 sprite token --minutes 0

step "each daemon killed and started again"
for d in migd fsd hostdb named; do
	status 0 sprite lab kill h1 $d
	status 5 host h1 sprite status
	status 0 sprite lab start h1 $d
	status 0 host h1 sprite status
done
status 0 sprite lab kill h2
status 0 sprite lab start h2
eventually 20 on h2 true
eventually 20 on h1 true

step "a second up changes nothing, and widens"
before=$(sprite lab status --json | json '["hosts"][0]["daemons"]["fsd"]')
status 0 sprite lab up 4 --quiet
is "fsd goes on" "$before" "$(sprite lab status --json | json '["hosts"][0]["daemons"]["fsd"]')"
status 0 host h4 sprite status
is "h4 by name" "10.83.0.4" "$(host h1 sh -c 'grep -w h4 /etc/hosts | cut -d" " -f1')"

step "down on one host"
status 0 host h3 sprite down
status 1 host h3 grep -q ' /sprite fuse' /proc/self/mounts
status 125 on h3 true
status 0 host h3 sprite down
status 0 host h3 sprite up
eventually 20 on h3 true

step "a host that crashes comes back as the same member"
id=$(host h4 sprite status --json | json '["id"]')
status 0 sprite lab crash h4
status 0 sprite lab start h4
is "its id" "$id" "$(host h4 sprite status --json | json '["id"]')"
eventually 20 on h4 true

step "down"
status 0 sprite lab down
