# SPDX-License-Identifier: Apache-2.0
#
# The code of the library beside the rooms' own functions; flow_libmneme.py uses
# the library itself.
if HAVE_CMOCKA
check_PROGRAMS += tests/libmneme/test_mneme
tests_libmneme_test_mneme_SOURCES = tests/libmneme/test_mneme.c libmneme/mneme.c
tests_libmneme_test_mneme_LDADD = $(TEST_UTIL) $(LIBMNEME_LIBS) $(CMOCKA_LIBS)
endif
