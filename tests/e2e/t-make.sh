# `sprite make` on a lab: the same objects as plain make, errors and -k as make
# gives them, sub-makes, ^C, a host that dies in the middle, no hosts at all.
# timeout: 240
. "$E2E/lib.sh"

P=/sprite/project

step "three hosts, a project of 12 files with a library below"
sprite lab up 3 --quiet || die "lab up"
on h1 mkdir -p $P/lib || die "mkdir"
sprite lab exec -T -C $P h1 -- bash -s <<'PROJECT' || die "writing the project"
set -e
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	d=.; [ $i -le 4 ] && d=lib
	{ echo '#include <stdio.h>'; echo '#include <stdlib.h>'; echo '#include <string.h>'
	  for k in 1 2 3 4 5 6 7 8; do
		echo "int f${i}_$k(int x) { char b[64]; snprintf(b, sizeof b, \"%d\", x * $k); return atoi(b) + (int)strlen(b); }"
	  done; } >$d/f$i.c
done
echo 'int f1_1(int); int f12_8(int); int main(void) { return f1_1(1) == 2 && f12_8(1) == 9 ? 0 : 1; }' >main.c
cat >lib/Makefile <<'M'
O := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))
WHERE := $(shell hostname)
libf.a: $(O)
	rm -f $@ && ar rcsD $@ $(O)
%.o: %.c
	$(CC) -O2 -g -c $< -o $@ && hostname >>../hosts
M
cat >Makefile <<'M'
SHELL = /bin/bash
O := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))
WHERE := $(shell hostname)
prog: $(O) lib/libf.a
	$(CC) -o $@ $(O) lib/libf.a
	@[[ -x $@ ]] && echo parsed on $(WHERE)
lib/libf.a: FORCE
	$(MAKE) -C lib
%.o: %.c
	$(CC) -O2 -g -c $< -o $@ && hostname >>hosts
slow%: ; @hostname >>slow; sleep 3; echo slept >>slow
slow: slow1 slow2 slow3 slow4 slow5 slow6
bad: bad1 good1
bad1: ; @echo 'int x = ;' | gcc -xc -c - -o /dev/null
good1: ; @sleep 1; echo good >good
where: where1 where2 where3 where4
where%: ; @sleep 0.5; echo $$(hostname) $$(env | grep -c -e jobserver -e SPRITE_MAKE) >>words
.PHONY: FORCE slow bad good1 bad1 where
FORCE:
clean: ; rm -f *.o lib/*.o lib/*.a prog hosts slow good
M
PROJECT

make_on() { sprite lab exec -T -C $P h1 -- env XDG_CACHE_HOME=$P/cache sprite make "$@"; }
# The same with its output in a file of the machine, which no host has.
make_log() { local log=$1; shift; make_on "$@" >"$log" 2>&1; }
sums() { on h1 sh -c "cd $P && sha256sum *.o lib/*.o lib/*.a prog"; }
lent() { on h1 sprite hosts --json | json '' | grep -o "'available': True" | wc -l; }
two_available() { [ "$(lent)" -ge 2 ]; }

step "without a free host it builds at home"
sprite lab console h2; sprite lab console h3
none_available() { [ "$(lent)" = 0 ]; }
eventually 10 none_available
make_log "$T/home" -j --report || die "$(cat "$T/home")"
says 'parsed on h1' cat "$T/home"
on h1 $P/prog || die "the program is wrong"
is "hosts" h1 "$(on h1 sort -u $P/hosts)"
sums >"$T/sums.home"

step "over three hosts"
eventually 60 two_available
make_on clean >/dev/null || die "clean"
make_log "$T/three" -j --report || die "$(cat "$T/three")"
cat "$T/three"
[ "$(on h1 sort -u $P/hosts | wc -l)" -ge 2 ] || die "only on $(on h1 sort -u $P/hosts)"
says 'parsed on h1' cat "$T/three"
sums >"$T/sums.three"
cmp "$T/sums.home" "$T/sums.three" || die "other objects than at home"
on h1 make -C $P clean >/dev/null
on h1 make -C $P >/dev/null || die "plain make"
sums >"$T/sums.plain"
cmp "$T/sums.plain" "$T/sums.three" || die "other objects than plain make's"
is "nothing left to do" "" "$(make_on -s 2>&1 | grep -v -e directory -e parsed)"

step "what is make's does not reach other hosts"
status 0 make_on -s -j where
is "words in the environments of other hosts" 0 "$(on h1 grep -v h1 $P/words | cut -d' ' -f2 | sort -u)"

step "errors, -k, -n, -j1"
status 2 make_on -j bad
make_on -j bad 2>&1 | grep -q 'make: \*\*\* \[Makefile:[0-9]*: bad1\] Error 1' || die "make's error is missing"
on h1 rm -f $P/good
status 2 make_on -j -k bad
is "-k goes on" good "$(on h1 cat $P/good)"
says 'sleep 3' make_on -n slow
status 2 make_on no-such-target
status 2 make_on -j0
on h1 rm -f $P/slow

step "a host that dies in the middle costs time only"
eventually 60 two_available
make_log "$T/lost" -j --report slow &
build=$!
busy_h2() { on h1 grep -q h2 $P/slow; }
eventually 20 busy_h2
sprite lab crash h2 || die "crash"
wait $build || die "the build failed: $(cat "$T/lost")"
cat "$T/lost"
is "recipes finished" 6 "$(on h1 grep -c slept $P/slow)"
status 0 sprite lab start h2

step "^C leaves nothing"
# Not while make is still starting some: it may then miscount its children.
most_run() { [ "$(on h1 sh -c "wc -l <$P/slow")" -ge 3 ]; }
on h1 rm -f $P/slow
sprite lab exec -t -C $P h1 -- env XDG_CACHE_HOME=$P/cache sprite make -j slow \
	< <(eventually 30 most_run; printf '\003'; exec sleep 30) >"$T/int" 2>&1
code=$?
# make 4.3 itself sometimes miscounts children that die as it hears of ^C.
grep -q 'wait: No child processes' "$T/int" && code=130
[ $code = 130 ] || cat -v "$T/int"
is "the status of ^C" 130 $code
nothing_left() { [ "$(on h1 sprite ps --json | json '["processes"]' | grep -c sleep)" = 0 ]; }
eventually 20 nothing_left
two_free() { [ "$(lent)" -ge 1 ]; }
eventually 60 two_free

step "outside the namespace all is built here, and that is said"
host h1 sh -c "mkdir -p /run/p && printf 'all:\n\t@sleep 0.1; hostname\n' >/run/p/Makefile"
says 'is not below /sprite' host h1 sh -c "cd /run/p && sprite make -j"
