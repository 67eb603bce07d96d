// Reading PNG, JPEG and WebP, and writing PNG, between memory buffers.
//
// Rules of this boundary:
// - Every function returns a cimage_result or cimage_text by value and never jumps, prints, aborts or keeps state:
//   the longjmp of libpng and libjpeg starts and ends inside the C function that was called.
// - Whatever a result points to belongs to the caller, who releases it with cimage_result_free or cimage_text_free,
//   also after a failure. Inputs are borrowed for the length of the call.
// - On failure `message` says why, in words of the library that refused, and nothing else is set except the size
//   of a picture that was too large.
#ifndef CIMAGE_H
#define CIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
  CIMAGE_OK,
  CIMAGE_TRUNCATED,    // the bytes end before the picture does
  CIMAGE_MALFORMED,    // the bytes contradict the format
  CIMAGE_UNSUPPORTED,  // a valid file of a kind that is not read, such as an animation
  CIMAGE_TOO_LARGE,    // more pixels than asked for; `width` and `height` are set
  CIMAGE_OUT_OF_MEMORY,
} cimage_status;

typedef struct {
  cimage_status status;
  char *message;    // null when status is CIMAGE_OK
  uint8_t *bytes;   // decoded: RGB, 3 * width * height bytes, row after row; encoded: the file
  size_t count;     // of bytes
  uint32_t width;
  uint32_t height;
} cimage_result;

// A keyword and its text, as in PNG's tEXt (Latin-1) and iTXt (UTF-8) chunks; both end with a zero byte.
typedef struct {
  char *key;
  char *value;
  bool utf8;
} cimage_text_entry;

typedef struct {
  cimage_status status;
  char *message;
  cimage_text_entry *entries;
  size_t count;
} cimage_text;

// Decoders give 8-bit RGB: 16-bit samples are scaled to 8 bits and rounded, transparency is composited over white.
// Nothing is allocated for a picture of more than `max_pixels`.
cimage_result cimage_decode_png(const uint8_t *bytes, size_t count, uint64_t max_pixels);
cimage_result cimage_decode_jpeg(const uint8_t *bytes, size_t count, uint64_t max_pixels);
cimage_result cimage_decode_webp(const uint8_t *bytes, size_t count, uint64_t max_pixels);

// Writes 8-bit RGB. The bytes depend on the arguments and zlib's version only: no time stamp, fixed settings.
cimage_result cimage_encode_png(const uint8_t *rgb, uint32_t width, uint32_t height, const cimage_text_entry *text,
                                size_t text_count);

// The texts of a PNG in the order of the file, those after the pixels (unless there are more than `max_pixels`) and compressed ones too.
cimage_text cimage_read_png_text(const uint8_t *bytes, size_t count, uint64_t max_pixels);

void cimage_result_free(cimage_result *result);
void cimage_text_free(cimage_text *text);

#endif
