#ifndef CMD_MOVES_H
#define CMD_MOVES_H
/* moves.h -- how a migration went, in words and as JSON. */
#include "cmd.h"
#include "hosts.h"
#include "migd_msg.h"

void move_text(const struct hosts *h, const struct msg_migd_move_record *m);
void move_json(struct json *j, const struct hosts *h,
	       const struct msg_migd_move_record *m);

#endif
