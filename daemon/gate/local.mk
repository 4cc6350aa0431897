# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/gate/libgate.a
daemon_gate_libgate_a_SOURCES = \
	daemon/gate/gate.c daemon/gate/gate.h \
	daemon/gate/gate_json.c \
	daemon/gate/gate_tails.c \
	daemon/gate/guard.c daemon/gate/guard.h \
	daemon/gate/shadow.c daemon/gate/shadow.h

GATE_LIBS = daemon/gate/libgate.a $(BASE_LIBS) -lm
