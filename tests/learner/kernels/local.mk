# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/learner/kernels/test_ops \
	tests/learner/kernels/test_packed
tests_learner_kernels_test_ops_LDADD = $(TEST_UTIL) $(KERNELS_LIBS) $(CMOCKA_LIBS)
tests_learner_kernels_test_packed_LDADD = $(TEST_UTIL) $(KERNELS_LIBS) $(CMOCKA_LIBS)
endif
