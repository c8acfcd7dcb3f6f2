#include "migration.h"
#include "evict.h"
#include "buf.h"
#include "chan.h"
void migration_explain(struct migd *m, uint32_t pid, struct buf *out){}
int migrations_open(struct migd *m){return 0;} void migrations_close(struct migd *m){}
void migration_chan(void *m, uint32_t host, uint64_t token, struct chan *c){chan_close(c);}
void migration_adopt(struct migd *m, const void *data, size_t len, int *fds, size_t nfds){}
void migrations_adopted(struct migd *m){}
void migrations_lost(struct migd *m, uint32_t host){}
#define F(n) void on_##n(struct migd *m, struct rpc_req *q, const struct msg_##n *b){rpc_reply(q,-38,0);}
F(migd_migrate) F(migd_migrate_here) F(migd_move) F(migd_offer) F(migd_commit) F(migd_settle) F(migd_moved) F(migd_cancel) F(migd_moves)
int evict_open(struct migd *m){return 0;} void evict_close(struct migd *m){} bool evict_active(const struct migd *m){return false;}
void evict_start(struct migd *m, const char *cause, uint32_t home, struct rpc_req *q){if(q)rpc_reply(q,-38,0);}
void on_migd_evictions_here(struct migd *m, struct rpc_req *q){rpc_reply(q,-38,0);}
