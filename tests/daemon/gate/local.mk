# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/daemon/gate/test_gate \
	tests/daemon/gate/test_guard \
	tests/daemon/gate/test_shadow \
	tests/daemon/gate/test_tails
tests_daemon_gate_test_gate_LDADD = $(TEST_UTIL) $(GATE_LIBS) $(CMOCKA_LIBS)
tests_daemon_gate_test_guard_LDADD = $(TEST_UTIL) $(GATE_LIBS) $(CMOCKA_LIBS)
tests_daemon_gate_test_shadow_LDADD = $(TEST_UTIL) $(GATE_LIBS) $(CMOCKA_LIBS)
tests_daemon_gate_test_tails_LDADD = $(TEST_UTIL) $(GATE_LIBS) $(CMOCKA_LIBS)
endif
