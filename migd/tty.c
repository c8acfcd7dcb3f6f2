/* tty.c -- see tty.h. */
#include "tty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "wire.h"

int tty_state_get(int fd, uint8_t ret[TTY_STATE_MAX], size_t *ret_len)
{
	struct wire_writer w = wire_writer(ret, TTY_STATE_MAX);
	struct winsize ws = { 0 };
	struct termios t;

	if (tcgetattr(fd, &t))
		return -errno;
	ioctl(fd, TIOCGWINSZ, &ws);
	wire_put_u32(&w, t.c_iflag);
	wire_put_u32(&w, t.c_oflag);
	wire_put_u32(&w, t.c_cflag);
	wire_put_u32(&w, t.c_lflag & ~(tcflag_t)EXTPROC);
	wire_put_raw(&w, t.c_cc, NCCS);
	wire_put_u16(&w, ws.ws_row);
	wire_put_u16(&w, ws.ws_col);
	wire_put_u16(&w, ws.ws_xpixel);
	wire_put_u16(&w, ws.ws_ypixel);
	*ret_len = w.len;
	return wire_write_end(&w);
}

static int parse(const void *state, size_t len, struct termios *t,
		 struct winsize *ws)
{
	struct wire_reader r = wire_reader(state, len);

	t->c_iflag = wire_get_u32(&r);
	t->c_oflag = wire_get_u32(&r);
	t->c_cflag = wire_get_u32(&r);
	t->c_lflag = wire_get_u32(&r);
	for (int i = 0; i < NCCS; i++)
		t->c_cc[i] = wire_get_u8(&r);
	ws->ws_row = wire_get_u16(&r);
	ws->ws_col = wire_get_u16(&r);
	ws->ws_xpixel = wire_get_u16(&r);
	ws->ws_ypixel = wire_get_u16(&r);
	return wire_read_end(&r);
}

int tty_state_put(int fd, const void *state, size_t len)
{
	struct termios t;
	struct winsize ws;

	if (tcgetattr(fd, &t))
		return -errno;
	if (parse(state, len, &t, &ws))
		return -EBADMSG;
	t.c_lflag &= ~(tcflag_t)EXTPROC;
	return tcsetattr(fd, TCSANOW, &t) ? -errno : 0;
}

int tty_size_put(int fd, const void *state, size_t len)
{
	struct termios t = { 0 };
	struct winsize ws;

	if (parse(state, len, &t, &ws))
		return -EBADMSG;
	return ioctl(fd, TIOCSWINSZ, &ws) ? -errno : 0;
}

int tty_open(const void *state, size_t len, int *ret_master, int *ret_slave)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	int slave = -1, one = 1, r;
	struct termios t;
	struct winsize ws;

	if (master < 0)
		return -errno;
	if (grantpt(master) || unlockpt(master))
		goto fail;
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || tcgetattr(slave, &t))
		goto fail;
	errno = EBADMSG;
	if (parse(state, len, &t, &ws))
		goto fail;
	t.c_lflag |= EXTPROC;
	if (tcsetattr(slave, TCSANOW, &t) || ioctl(master, TIOCSWINSZ, &ws) ||
	    ioctl(master, TIOCPKT, &one) ||
	    fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK))
		goto fail;
	*ret_master = master;
	*ret_slave = slave;
	return 0;
fail:
	r = -errno;
	close(master);
	if (slave >= 0)
		close(slave);
	return r;
}

uint8_t tty_eof_char(int fd)
{
	struct termios t;

	return tcgetattr(fd, &t) ? 4 : t.c_cc[VEOF];
}

size_t tty_unmap(int fd, uint8_t *p, size_t n, bool cut, bool *carry)
{
	struct termios t;
	size_t out = 0;

	if (tcgetattr(fd, &t) || !(t.c_oflag & OPOST) || !(t.c_oflag & ONLCR))
		return n;
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\r' && i + 1 < n && p[i + 1] == '\n')
			continue;
		p[out++] = p[i];
	}
	*carry = cut && out && p[out - 1] == '\r';
	return *carry ? out - 1 : out;
}
