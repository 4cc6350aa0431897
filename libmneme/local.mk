# SPDX-License-Identifier: Apache-2.0
#
# libmneme, for other programs: mneme.h. The library is linked from the archives
# of the rooms, whose code is position-independent. Its file is named by its
# soname; the number grows when a symbol or a struct changes (docs/RELEASING.md).
LIBMNEME_LIBS = interchange/libinterchange.a $(INFER_LIBS) $(STORE_LIBS)
include_HEADERS = libmneme/mneme.h

mnemelibdir = $(libdir)
mnemelib_PROGRAMS = libmneme/libmneme.so.0
libmneme_libmneme_so_0_SOURCES = libmneme/mneme.c libmneme/mneme.h
libmneme_libmneme_so_0_CFLAGS = $(AM_CFLAGS) -fPIC
libmneme_libmneme_so_0_LDFLAGS = -shared -pthread $(SAN_CFLAGS) \
	$(HARDEN_LDFLAGS:-pie=) -Wl,-soname,libmneme.so.0 \
	-Wl,--version-script,$(srcdir)/libmneme/libmneme.map -Wl,--as-needed
libmneme_libmneme_so_0_LDADD = $(LIBMNEME_LIBS)
EXTRA_libmneme_libmneme_so_0_DEPENDENCIES = libmneme/libmneme.map

# The name that the linker looks for.
install-exec-hook:
	$(MKDIR_P) '$(DESTDIR)$(libdir)'
	ln -sf libmneme.so.0 '$(DESTDIR)$(libdir)/libmneme.so'
uninstall-hook:
	rm -f '$(DESTDIR)$(libdir)/libmneme.so'

pkgconfigdir = $(libdir)/pkgconfig
nodist_pkgconfig_DATA = libmneme/mneme.pc
examplesdir = $(docdir)/examples
dist_examples_DATA = examples/score_file.c
pythondir = $(pkgdatadir)/python
dist_python_DATA = contrib/python/mneme.py
EXTRA_DIST += libmneme/libmneme.map
