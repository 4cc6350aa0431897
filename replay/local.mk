# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += replay/libreplay.a
replay_libreplay_a_SOURCES = \
	replay/replay.c replay/replay.h \
	replay/replay_db.c replay/replay_db.h \
	replay/row.c replay/row.h \
	replay/sampler.c replay/sampler.h \
	replay/tiers.c replay/tiers.h

REPLAY_LIBS = replay/libreplay.a $(BASE_LIBS) $(SQLITE_LIBS)
