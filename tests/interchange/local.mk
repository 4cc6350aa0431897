# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/interchange/test_export \
	tests/interchange/test_gguf_format \
	tests/interchange/test_gguf_names \
	tests/interchange/test_import
tests_interchange_test_export_LDADD = $(TEST_UTIL) $(INTERCHANGE_LIBS) $(TOKENIZER_LIBS) $(CMOCKA_LIBS)
tests_interchange_test_gguf_format_LDADD = $(TEST_UTIL) $(INTERCHANGE_LIBS) $(CMOCKA_LIBS)
tests_interchange_test_gguf_names_LDADD = $(TEST_UTIL) $(INTERCHANGE_LIBS) $(CMOCKA_LIBS)
tests_interchange_test_import_LDADD = $(TEST_UTIL) interchange/libinterchange.a $(INFER_LIBS) $(STORE_LIBS) $(CMOCKA_LIBS)
endif
