# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/intake/libintake.a
daemon_intake_libintake_a_SOURCES = \
	daemon/intake/drift.c daemon/intake/drift.h \
	daemon/intake/families.c daemon/intake/families.h \
	daemon/intake/filter.c daemon/intake/filter.h \
	daemon/intake/intake.c daemon/intake/intake.h \
	daemon/intake/progress.c daemon/intake/progress.h \
	daemon/intake/refusals.c daemon/intake/refusals.h \
	daemon/intake/simhash.c daemon/intake/simhash.h \
	daemon/intake/surprise.c daemon/intake/surprise.h \
	daemon/intake/texture.c daemon/intake/texture.h \
	daemon/intake/vocabulary.c daemon/intake/vocabulary.h

INTAKE_LIBS = daemon/intake/libintake.a $(GATE_LIBS) $(STREAM_LIBS) $(BOARD_LIBS) \
	$(REPLAY_LIBS)
