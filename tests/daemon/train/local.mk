# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/daemon/train/test_pace \
	tests/daemon/train/test_trainer
tests_daemon_train_test_pace_LDADD = $(TEST_UTIL) $(TRAIN_LIBS) $(CMOCKA_LIBS)
tests_daemon_train_test_trainer_LDADD = $(TEST_UTIL) $(TRAIN_LIBS) $(CMOCKA_LIBS)
endif
