# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/http/request/librequest.a
daemon_http_request_librequest_a_SOURCES = \
	daemon/http/request/http_cors.c daemon/http/request/http_cors.h \
	daemon/http/request/http_mhd.c daemon/http/request/http_mhd.h \
	daemon/http/request/http_model.c daemon/http/request/http_model.h \
	daemon/http/request/http_request.c daemon/http/request/http_request.h \
	daemon/http/request/http_tokens.c daemon/http/request/http_tokens.h

HTTP_REQUEST_LIBS = daemon/http/request/librequest.a $(HTTP_WIRE_LIBS) \
	$(PUBLISH_LIBS) $(MICROHTTPD_LIBS)
