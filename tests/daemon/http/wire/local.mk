# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/daemon/http/wire/test_http_admin \
	tests/daemon/http/wire/test_http_cancel \
	tests/daemon/http/wire/test_http_head \
	tests/daemon/http/wire/test_http_share
tests_daemon_http_wire_test_http_admin_LDADD = $(TEST_UTIL) $(HTTP_WIRE_LIBS) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_daemon_http_wire_test_http_cancel_LDADD = $(TEST_UTIL) $(HTTP_WIRE_LIBS) $(CMOCKA_LIBS)
tests_daemon_http_wire_test_http_head_LDADD = $(TEST_UTIL) $(HTTP_WIRE_LIBS) $(CMOCKA_LIBS)
tests_daemon_http_wire_test_http_share_LDADD = $(TEST_UTIL) $(HTTP_WIRE_LIBS) $(CMOCKA_LIBS)
endif
