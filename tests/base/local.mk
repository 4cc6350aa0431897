# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/base/test_buf \
	tests/base/test_checksum \
	tests/base/test_err \
	tests/base/test_fileio \
	tests/base/test_half \
	tests/base/test_heap \
	tests/base/test_json_value \
	tests/base/test_lines \
	tests/base/test_log \
	tests/base/test_names \
	tests/base/test_rng \
	tests/base/test_segment \
	tests/base/test_tensor \
	tests/base/test_timing \
	tests/base/test_utf8 \
	tests/base/test_xalloc
tests_base_test_buf_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_checksum_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_err_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_fileio_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_half_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_heap_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_json_value_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_lines_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_log_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_names_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_rng_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_segment_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_tensor_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_timing_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_utf8_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_base_test_xalloc_LDADD = $(TEST_UTIL) $(BASE_LIBS) $(CMOCKA_LIBS)
endif
