# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/http/wire/libwire.a
daemon_http_wire_libwire_a_SOURCES = \
	daemon/http/wire/http_cancel.c daemon/http/wire/http_cancel.h \
	daemon/http/wire/http_coding.c daemon/http/wire/http_coding.h \
	daemon/http/wire/http_connections.c daemon/http/wire/http_connections.h \
	daemon/http/wire/http_head.c daemon/http/wire/http_head.h \
	daemon/http/wire/http_listen.c daemon/http/wire/http_listen.h \
	daemon/http/wire/http_share.c daemon/http/wire/http_share.h \
	daemon/http/wire/http_slots.c daemon/http/wire/http_slots.h \
	daemon/http/wire/http_stream.c daemon/http/wire/http_stream.h \
	daemon/http/wire/http_tls.c daemon/http/wire/http_tls.h

HTTP_WIRE_LIBS = daemon/http/wire/libwire.a $(BOARD_LIBS) $(SSL_LIBS)
