/* port.c -- see port.h. */
#include "port.h"

const struct pdev_port pdev_port_rpc = {
	.call = rpc_conn_call,
	.cancel = rpc_call_cancel,
	.note = rpc_conn_note,
	.reply = rpc_reply,
	.reply_err = rpc_reply_err,
	.req_conn = rpc_req_conn,
	.req_host = rpc_req_host,
	.host = rpc_conn_host,
	.epoch = rpc_conn_epoch,
	.service = rpc_conn_service,
	.uid = rpc_conn_uid,
	.gid = rpc_conn_gid,
	.pid = rpc_conn_pid,
	.close = rpc_conn_close,
};
