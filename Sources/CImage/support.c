#include "support.h"

#include <stdlib.h>
#include <string.h>

char *cimage_copy_message(const char *message) {
  size_t size = strlen(message) + 1;
  char *copy = malloc(size);
  if (copy) memcpy(copy, message, size);
  return copy;
}

void cimage_fail(cimage_result *result, cimage_status status, const char *message) {
  cimage_result_free(result);
  result->status = status;
  result->message = cimage_copy_message(message);
}

bool cimage_allocate(cimage_result *result, uint32_t width, uint32_t height, uint32_t channels, uint64_t max_pixels) {
  uint64_t pixels = (uint64_t)width * height;
  if (pixels > max_pixels || pixels > SIZE_MAX / channels) {
    cimage_fail(result, CIMAGE_TOO_LARGE, "too many pixels");
    result->width = width;
    result->height = height;
    return false;
  }
  result->bytes = malloc((size_t)pixels * channels);
  if (!result->bytes) {
    cimage_fail(result, CIMAGE_OUT_OF_MEMORY, "out of memory");
    return false;
  }
  result->count = (size_t)pixels * channels;
  result->width = width;
  result->height = height;
  return true;
}

void cimage_flatten_over_white(cimage_result *result) {
  size_t pixels = (size_t)result->width * result->height;
  uint8_t *target = result->bytes;
  const uint8_t *source = result->bytes;
  for (size_t i = 0; i < pixels; i++, source += 4, target += 3) {
    uint32_t alpha = source[3];
    uint32_t white = 255 * (255 - alpha) + 127;
    for (int channel = 0; channel < 3; channel++) {
      target[channel] = (uint8_t)((source[channel] * alpha + white) / 255);
    }
  }
  result->count = pixels * 3;
}

void cimage_result_free(cimage_result *result) {
  free(result->message);
  free(result->bytes);
  *result = (cimage_result){0};
}

void cimage_text_free(cimage_text *text) {
  for (size_t i = 0; i < text->count; i++) {
    free(text->entries[i].key);
    free(text->entries[i].value);
  }
  free(text->entries);
  free(text->message);
  *text = (cimage_text){0};
}
