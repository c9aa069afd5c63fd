# SPDX-License-Identifier: Apache-2.0
LIBRARIES += base
base_PURE  := fs/base/crc32c.c fs/base/random.c fs/base/text.c fs/base/error.c fs/base/siphash.c fs/base/memory.c
base_SHELL := fs/base/check.c fs/base/log.c fs/base/coroutine.c fs/base/environment.c \
              fs/base/block_device.c
# The block devices; who uses the aio one links -laio.
base_SHELL += fs/base/block_device_open.c fs/base/block_device_file.c fs/base/block_device_aio.c
base_SHELL += fs/base/environment_tool.c fs/base/stop_request.c
# The real event loop; who uses it links -levent_core.
base_SHELL += fs/base/environment_event.c
# How long a device may take (rule 10).
base_SHELL += fs/base/device_multipath.c fs/base/device_timeouts.c
