# SPDX-License-Identifier: Apache-2.0
include tests/daemon/http/wire/local.mk
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/daemon/http/test_api \
	tests/daemon/http/test_api_fields \
	tests/daemon/http/test_completions \
	tests/daemon/http/test_http \
	tests/daemon/http/test_http_framing \
	tests/daemon/http/test_http_limits \
	tests/daemon/http/test_http_tls \
	tests/daemon/http/test_mutated \
	tests/daemon/http/test_page \
	tests/daemon/http/test_openapi
tests_daemon_http_test_api_LDADD = $(TEST_UTIL) $(HTTP_LIBS) $(CMOCKA_LIBS)
tests_daemon_http_test_api_fields_LDADD = $(TEST_UTIL) $(HTTP_LIBS) $(CMOCKA_LIBS)
tests_daemon_http_test_completions_LDADD = $(TEST_UTIL) $(HTTP_LIBS) $(CMOCKA_LIBS)
tests_daemon_http_test_http_LDADD = $(TEST_UTIL) $(HTTP_LIBS) $(CMOCKA_LIBS)
tests_daemon_http_test_http_framing_LDADD = $(TEST_UTIL) $(HTTP_LIBS) $(CMOCKA_LIBS)
tests_daemon_http_test_http_limits_LDADD = $(TEST_UTIL) $(HTTP_LIBS) $(CMOCKA_LIBS)
tests_daemon_http_test_http_tls_LDADD = $(TEST_UTIL) $(HTTP_LIBS) $(CMOCKA_LIBS)
tests_daemon_http_test_mutated_LDADD = $(TEST_UTIL) $(HTTP_LIBS) $(CMOCKA_LIBS)
tests_daemon_http_test_page_LDADD = $(TEST_UTIL) $(HTTP_LIBS) $(CMOCKA_LIBS)
tests_daemon_http_test_openapi_LDADD = $(TEST_UTIL) $(HTTP_LIBS) $(CMOCKA_LIBS)
endif
