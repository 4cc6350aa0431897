# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/bench/test_speed
tests_bench_test_speed_LDADD = $(TEST_UTIL) $(BENCH_LIBS) $(CMOCKA_LIBS)
endif
