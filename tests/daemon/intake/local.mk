# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/daemon/intake/test_drift \
	tests/daemon/intake/test_filter \
	tests/daemon/intake/test_intake \
	tests/daemon/intake/test_progress \
	tests/daemon/intake/test_refusals
tests_daemon_intake_test_drift_LDADD = $(TEST_UTIL) $(INTAKE_LIBS) $(CMOCKA_LIBS)
tests_daemon_intake_test_filter_LDADD = $(TEST_UTIL) $(INTAKE_LIBS) $(CMOCKA_LIBS)
tests_daemon_intake_test_intake_LDADD = $(TEST_UTIL) $(INTAKE_LIBS) $(CMOCKA_LIBS)
tests_daemon_intake_test_progress_LDADD = $(TEST_UTIL) $(INTAKE_LIBS) $(CMOCKA_LIBS)
tests_daemon_intake_test_refusals_LDADD = $(TEST_UTIL) $(INTAKE_LIBS) $(CMOCKA_LIBS)
endif
