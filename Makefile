# Sprite: one make, one graph.
#
#   make            build everything into build/$(MODE)/bin
#   make demo       install what is missing, build, run the main job on four virtual hosts
#   make check      install what is missing, build, run every test
#   make deps       install the Debian packages named below, only those missing
#   make install DESTDIR= PREFIX=/usr/local
#   make MODE=asan check-unit      modes: debug (default), fast, asan, cov
#
# The mode is in the path, so objects of different modes never mix.  The layer
# diagram of docs/architecture.md is the include path: a folder sees only what
# is below it, and a wrong #include does not compile.

MODE   ?= debug
B      ?= build/$(MODE)
PREFIX ?= /usr/local
CC     := gcc

PACKAGES := build-essential pkg-config libfuse3-dev libsqlite3-dev \
            libsodium-dev libev-dev libcriterion-dev iproute2 util-linux procps \
            python3-minimal
PACKAGES_LINT := clang clang-format libclang-rt-14-dev

MODE_debug := -O1 -g3
MODE_fast  := -O2 -g
MODE_asan  := -O1 -g3 -fno-omit-frame-pointer -fsanitize=address,undefined \
              -fno-sanitize-recover=all
MODE_cov   := -O0 -g3 --coverage
ifeq ($(MODE_$(MODE)),)
$(error MODE=$(MODE) is not one of debug, fast, asan, cov)
endif

CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
CFLAGS   += -std=c17 -Wall -Wextra -Wshadow -Wvla -Wmissing-prototypes \
            -Wstrict-prototypes -Wwrite-strings -fno-common -pthread \
            -Werror=implicit -Werror=incompatible-pointer-types
# Criterion's macros convert freely, so only our own code is held to these.
strict    = $(if $(filter tests,$(folder)),,-Wpedantic -Wconversion)

# What the files of a folder may include.  Services never see each other,
# except that fs/ drives pdev/.
sees_lib        := lib
sees_net        := net lib
sees_engine     := engine lib
sees_nameserver := nameserver include net lib
sees_hostdb     := hostdb include net lib
sees_pdev       := pdev include net lib
sees_fs         := fs pdev include net lib
sees_migd       := migd include engine net lib
sees_cmd        := cmd include net lib
sees_bench      := bench include engine hostdb net lib
sees_tests       = include net lib engine tests/support $(word 2,$(subst /, ,$*)) pdev

pc           = $(shell pkg-config --$1 $2 2>/dev/null)
cflags_fs   := $(call pc,cflags,fuse3) -DFUSE_USE_VERSION=314
cflags_pdev := $(cflags_fs)
cflags_tests := $(cflags_fs)
libs_fs     := $(call pc,libs,fuse3)
libs_pdev   := $(libs_fs)
libs_hostdb := $(call pc,libs,sqlite3)
libs_nameserver := $(libs_hostdb)
LDLIBS      += $(call pc,libs,libsodium) -lev -lm

folder  = $(firstword $(subst /, ,$*))
objs    = $(patsubst %.c,$(B)/%.o,$(filter-out %/main.c,$(wildcard $1/*.c)))
compile = $(CC) $(CPPFLAGS) $(addprefix -I,$(sees_$(folder))) \
          $(CFLAGS) $(strict) $(cflags_$(folder)) $(MODE_$(MODE))

.PHONY: all
all:
.DELETE_ON_ERROR:

# make V=1 shows the commands.
Q      := $(if $(V),,@)
say     = $(if $(V),,@echo "  $1	$@")

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(compile) -MMD -MP -c $< -o $@

# ---- libraries ------------------------------------------------------------
base   := $(call objs,lib) $(call objs,net)
engine := $(call objs,engine)

$(B)/libbase.a: $(base)
	@rm -f $@
	@$(AR) rcs $@ $^
$(B)/libengine.a: $(engine)
	@rm -f $@
	@$(AR) rcs $@ $^

# The public library: pseudo-devices, host requests, migration.
pdev_lib := $(patsubst %.c,$(B)/%.o,$(wildcard pdev/client*.c))
$(B)/libsprite.a: $(base) $(pdev_lib)
	@rm -f $@
	@$(AR) rcs $@ $(wildcard $^)

# ---- programs -------------------------------------------------------------
# $(call program,NAME,FOLDER,MORE OBJECTS)
programs :=
define program
programs += $(B)/bin/$1
$(B)/bin/$1: $(B)/$2/main.o $(call objs,$2) $3 $(B)/libbase.a
	@mkdir -p $$(@D)
	$$(call say,LD)
	$$(Q)$$(CC) $$(MODE_$$(MODE)) -pthread $$(LDFLAGS) $$^ $(libs_$2) $$(LDLIBS) -o $$@
endef
has = $(wildcard $1/main.c)
ifneq ($(call has,nameserver),)
$(eval $(call program,sprite-named,nameserver))
endif
ifneq ($(call has,hostdb),)
$(eval $(call program,sprite-hostdb,hostdb))
endif
ifneq ($(call has,fs),)
$(eval $(call program,sprite-fsd,fs,$(call objs,pdev)))
endif
ifneq ($(call has,migd),)
$(eval $(call program,sprite-migd,migd,$(B)/libengine.a $(pdev_lib)))
endif
ifneq ($(call has,cmd),)
$(eval $(call program,sprite,cmd))
endif

# The stub has no libc and no instrumentation, whatever the mode.
STUB_CFLAGS  := -std=gnu17 -O2 -g -ffreestanding -fno-stack-protector -fPIE \
                -fno-jump-tables -fno-asynchronous-unwind-tables -fcf-protection=none \
                -Wall -Wextra -Wshadow -Wvla
STUB_LDFLAGS := -nostdlib -static
-include stub/stub.mk
stub_src := $(wildcard stub/*.c stub/*.S)
stub_obj := $(patsubst %,$(B)/%.o,$(stub_src))
$(B)/stub/%.o: stub/%
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) -D_GNU_SOURCE -Istub -Iengine $(STUB_CFLAGS) -MMD -MP -c $< -o $@
$(B)/bin/sprite-stub: $(stub_obj) $(wildcard stub/*.ld)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(STUB_LDFLAGS) $(stub_obj) $(patsubst %,-Wl$(comma)-T$(comma)%,$(wildcard stub/*.ld)) -o $@
# As installed: an ordinary user's process that comes home is made again inside
# its home stub, which takes privilege (the stub obeys only root's sockets).
	@[ "$$(id -u)" != 0 ] || chmod 4755 $@
comma := ,
ifneq ($(stub_src),)
programs += $(B)/bin/sprite-stub
endif

# sprite-sh is the shell that `sprite make` gives to make: small and static,
# because it is started once per recipe line.
$(B)/bin/sprite-sh: $(wildcard cmd/sh/*.c) cmd/make_line.c cmd/run_state.c $(B)/libbase.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CPPFLAGS) -Icmd -Inet -Ilib -Iinclude $(CFLAGS) -Wpedantic -Wconversion \
		$(MODE_$(MODE)) $(if $(filter asan cov,$(MODE)),,-static) $(LDFLAGS) \
		$(filter %.c %.a,$^) $(LDLIBS) -o $@
ifneq ($(wildcard cmd/sh/*.c),)
programs += $(B)/bin/sprite-sh
endif

all: $(programs) $(B)/libsprite.a

# ---- tests ----------------------------------------------------------------
# tests/FOLDER/*.c is one Criterion program, linked with the objects of FOLDER.
# A leak in a test's process is reported to a file; a report fails the run.
wrap := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
unit :=
define suite
unit += check-$1
.PHONY: check-$1
check-$1: $(B)/tests/$1.run $(B)/bin/sprite-stub test-programs
	@rm -f $$<.report.*
	@ASAN_OPTIONS=log_path=$$<.report SPRITE_BIN=$(abspath $(B))/bin \
		SPRITE_TEST_PROGRAMS=$(abspath $(B))/tests/programs $$< --jobs 2
	@! cat $$<.report.* 2>/dev/null
$(B)/tests/$1.run: $(call objs,tests/$1) $(call objs,tests/support) \
		   $(filter $(B)/$1/%,$(filter-out $(base) $(engine),$(call objs,$1))) \
		   $(if $(filter fs,$1),$(call objs,pdev)) \
		   $(if $(filter migd,$1),$(pdev_lib)) \
		   $(B)/libengine.a $(B)/libbase.a
	@mkdir -p $$(@D)
	$$(call say,LD)
	$$(Q)$$(CC) $$(MODE_$$(MODE)) -pthread $$(LDFLAGS) $(wrap) $$^ $(libs_$1) \
		$$(LDLIBS) -lcriterion -o $$@
endef
suites := $(filter-out support fuzz e2e programs,$(patsubst tests/%/,%,$(sort $(dir $(wildcard tests/*/*.c)))))
$(foreach s,$(suites),$(eval $(call suite,$s)))

# Guests that the tests move about: stand-alone, no sanitizer, as a user has them.
guests := $(patsubst tests/programs/%.c,$(B)/tests/programs/%,$(wildcard tests/programs/*.c))
$(B)/tests/programs/%: tests/programs/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu17 -O2 -g -Wall -Wextra -pthread $< -o $@ -lm
# Programs that use the public library, as a user's would.
$(B)/tests/programs/pdev_%: tests/programs/pdev_%.c $(B)/libsprite.a
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu17 -O2 -g -Wall -Wextra -Iinclude $(MODE_$(MODE)) -pthread $< \
		$(B)/libsprite.a $(LDLIBS) -o $@
.PHONY: test-programs
test-programs: $(guests)

# ---- fuzzing: every decoder and the handshake, over a kept corpus ------------
FUZZ_SECS ?= 5
fuzzers := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
fuzz_lib := $(wildcard lib/*.c net/*.c engine/*.c pdev/*.c)
FB := build/fuzz
$(FB)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,FZ)
	$(Q)clang $(CPPFLAGS) $(addprefix -I,lib net engine include pdev fs $(dir $<)) -std=c17 -g -O1 \
		$(cflags_fs) -pthread -fsanitize=fuzzer-no-link,address,undefined \
		-fno-sanitize-recover=undefined -MMD -MP -c $< -o $@
$(FB)/lib.a: $(patsubst %.c,$(FB)/%.o,$(fuzz_lib))
	@rm -f $@
	@$(AR) rcs $@ $^
$(FB)/fuzz_%: $(FB)/tests/fuzz/fuzz_%.o $(FB)/lib.a
	clang -fsanitize=fuzzer,address,undefined -pthread $^ $(libs_fs) $(LDLIBS) -o $@
.PHONY: fuzz
.SECONDARY: $(fuzzers:%=$(FB)/tests/fuzz/%.o)
fuzz: $(fuzzers:%=$(FB)/%)
	@for f in $(fuzzers); do mkdir -p tests/fuzz/corpus/$$f $(FB)/new/$$f; \
		$(FB)/$$f -max_total_time=$(FUZZ_SECS) -timeout=5 -rss_limit_mb=2048 \
			-artifact_prefix=$(FB)/ $(FB)/new/$$f tests/fuzz/corpus/$$f >$(FB)/$$f.log 2>&1 || \
			{ echo "fuzz: $$f failed; the input is in $(FB)/"; tail -40 $(FB)/$$f.log; exit 1; }; \
		echo "fuzz: $$f, $$(sed -n 's/^Done \([0-9]*\) runs.*/\1 runs/p' $(FB)/$$f.log), clean"; done

# ---- what people call -----------------------------------------------------
.PHONY: deps check check-unit check-e2e check-headers demo bench install clean lint
deps:
	@missing=; for p in $(PACKAGES) $(if $(LINT),$(PACKAGES_LINT)); do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; fi

# pkg-config answers only once the packages are there, hence a second make.
check: deps
	@$(MAKE) --no-print-directory all test-programs
	@$(MAKE) --no-print-directory check-headers check-unit
	@$(MAKE) --no-print-directory check-e2e
check-unit: $(unit)
check-e2e: all test-programs
	tests/e2e/run $(B) $(T)

demo: deps
	@$(MAKE) --no-print-directory MODE=fast all test-programs
	@tests/e2e/demo build/fast

# Every header compiles alone and nobody climbs out of his folder.
headers := $(wildcard lib/*.h net/*.h engine/*.h nameserver/*.h hostdb/*.h fs/*.h pdev/*.h migd/*.h cmd/*.h include/sprite/*.h)
check-headers: $(headers:%=$(B)/%.ok)
	@! grep -n '#include "\.\./' $(wildcard */*.c */*.h include/*/*.h)
$(B)/%.h.ok: %.h
	@mkdir -p $(@D)
	@echo '#include "$(notdir $<)"' | $(CC) -x c $(CPPFLAGS) $(addprefix -I,$(sees_$(folder))) -I$(dir $<) \
		-Ilib -Iinclude $(CFLAGS) $(cflags_$(folder)) -fsyntax-only - && touch $@

lint:
	clang-format --dry-run $(wildcard lib/*.[ch] net/*.[ch] nameserver/*.[ch] hostdb/*.[ch] fs/*.[ch] pdev/*.[ch] engine/*.[ch] migd/*.[ch] cmd/*.[ch])

benches := $(patsubst bench/%.c,$(B)/bench/%,$(wildcard bench/*.c))
$(B)/bench/%: $(B)/bench/%.o $(B)/libengine.a $(B)/libbase.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(MODE_$(MODE)) -pthread $(LDFLAGS) $^ $(LDLIBS) -o $@
# The host database's policy and store are measured without the wire.
$(B)/bench/hostdb: $(call objs,hostdb)
$(B)/bench/hostdb: LDLIBS := $(B)/libbase.a $(libs_hostdb) $(LDLIBS)
bench: deps
	@$(MAKE) --no-print-directory MODE=fast all test-programs bench-programs
	@bench/run build/fast
.PHONY: bench-programs
bench-programs: $(benches)

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/sprite \
		$(DESTDIR)$(PREFIX)/include/sprite $(DESTDIR)$(PREFIX)/lib \
		$(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man3 \
		$(DESTDIR)$(PREFIX)/share/man/man8
	install -m 755 $(B)/bin/sprite $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(filter-out %/sprite,$(programs)) $(DESTDIR)$(PREFIX)/libexec/sprite/
# A home stub of an ordinary user must become the process again when it comes
# home, which takes privilege; it obeys only a control socket opened by root.
	chmod 4755 $(DESTDIR)$(PREFIX)/libexec/sprite/sprite-stub
	install -m 644 $(wildcard include/sprite/*.h) $(DESTDIR)$(PREFIX)/include/sprite/
	install -m 644 $(B)/libsprite.a $(DESTDIR)$(PREFIX)/lib/
	$(if $(wildcard docs/man/*.1),install -m 644 $(wildcard docs/man/*.1) $(DESTDIR)$(PREFIX)/share/man/man1/)
	$(if $(wildcard docs/man/*.3),install -m 644 $(wildcard docs/man/*.3) $(DESTDIR)$(PREFIX)/share/man/man3/)
	$(if $(wildcard docs/man/*.8),install -m 644 $(wildcard docs/man/*.8) $(DESTDIR)$(PREFIX)/share/man/man8/)

clean:
	rm -rf build

-include $(shell find $(B) $(FB) -name '*.d' 2>/dev/null)
