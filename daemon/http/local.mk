# SPDX-License-Identifier: Apache-2.0
# The rooms of the HTTP server, from the lowest up.
include daemon/http/wire/local.mk
include daemon/http/request/local.mk
include daemon/http/completion/local.mk
include daemon/http/api/local.mk

noinst_LIBRARIES += daemon/http/libhttp.a
daemon_http_libhttp_a_SOURCES = \
	daemon/http/http.c daemon/http/http.h \
	daemon/http/http_admit.c \
	daemon/http/http_private.h \
	daemon/http/http_serve.c

HTTP_LIBS = daemon/http/libhttp.a $(HTTP_API_LIBS)
