# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/gate/libgate.a
daemon_gate_libgate_a_SOURCES = \
	daemon/gate/gate.c daemon/gate/gate.h \
	daemon/gate/guard.c daemon/gate/guard.h \
	daemon/gate/shadow.c daemon/gate/shadow.h \
	daemon/gate/tails.c daemon/gate/tails.h

GATE_LIBS = daemon/gate/libgate.a $(BASE_LIBS) -lm
