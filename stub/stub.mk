# One fixed-address segment without data (stub.ld); nothing may be exported.
STUB_CFLAGS  += -fvisibility=hidden -fno-tree-loop-distribute-patterns \
                -fno-builtin -mno-red-zone -Wmissing-prototypes -Wstrict-prototypes
STUB_LDFLAGS += -Wl,--build-id=none -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments
