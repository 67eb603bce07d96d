// Helpers shared by the three codecs.
#ifndef CIMAGE_SUPPORT_H
#define CIMAGE_SUPPORT_H

#include "cimage.h"

#define CIMAGE_MESSAGE_SIZE 256

// An owned copy of a message. Null only when memory ran out, which callers of the boundary read as "out of memory".
char *cimage_copy_message(const char *message);

// Releases what `result` holds and makes it a failure with a copy of `message`.
void cimage_fail(cimage_result *result, cimage_status status, const char *message);

// Sets the size and allocates `width * height * channels` bytes, or makes `result` a failure and returns false.
bool cimage_allocate(cimage_result *result, uint32_t width, uint32_t height, uint32_t channels, uint64_t max_pixels);

// Turns a result of straight-alpha RGBA into RGB over white, in place.
void cimage_flatten_over_white(cimage_result *result);

#endif
