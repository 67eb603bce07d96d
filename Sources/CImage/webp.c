#include <webp/decode.h>

#include "support.h"

// libwebp reports a file cut short in several ways; the RIFF header's own length says it plainly.
static bool is_cut_short(const uint8_t *bytes, size_t count) {
  if (count < 12) return true;
  uint64_t riff = bytes[4] | (uint32_t)bytes[5] << 8 | (uint32_t)bytes[6] << 16 | (uint32_t)bytes[7] << 24;
  return riff + 8 > count;
}

static void fail(cimage_result *result, VP8StatusCode status) {
  switch (status) {
  case VP8_STATUS_OUT_OF_MEMORY: cimage_fail(result, CIMAGE_OUT_OF_MEMORY, "out of memory"); break;
  case VP8_STATUS_NOT_ENOUGH_DATA:
  case VP8_STATUS_SUSPENDED: cimage_fail(result, CIMAGE_TRUNCATED, "the data ends too early"); break;
  case VP8_STATUS_UNSUPPORTED_FEATURE: cimage_fail(result, CIMAGE_UNSUPPORTED, "an unknown kind of WebP"); break;
  default: cimage_fail(result, CIMAGE_MALFORMED, "the bitstream is damaged"); break;
  }
}

cimage_result cimage_decode_webp(const uint8_t *bytes, size_t count, uint64_t max_pixels) {
  cimage_result result = {0};
  if (is_cut_short(bytes, count)) {
    cimage_fail(&result, CIMAGE_TRUNCATED, "the data is shorter than its header says");
    return result;
  }
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) {
    cimage_fail(&result, CIMAGE_UNSUPPORTED, "libwebp has another version than its headers");
    return result;
  }
  VP8StatusCode status = WebPGetFeatures(bytes, count, &config.input);
  if (status != VP8_STATUS_OK) {
    fail(&result, status);
    return result;
  }
  if (config.input.has_animation) {
    cimage_fail(&result, CIMAGE_UNSUPPORTED, "an animation");
    return result;
  }
  uint32_t channels = config.input.has_alpha ? 4 : 3;
  uint32_t width = (uint32_t)config.input.width, height = (uint32_t)config.input.height;
  if (!cimage_allocate(&result, width, height, channels, max_pixels)) return result;

  config.output.colorspace = channels == 4 ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = result.bytes;
  config.output.u.RGBA.stride = (int)(width * channels);
  config.output.u.RGBA.size = result.count;
  status = WebPDecode(bytes, count, &config);
  WebPFreeDecBuffer(&config.output);
  if (status != VP8_STATUS_OK) {
    fail(&result, status);
  } else if (channels == 4) {
    cimage_flatten_over_white(&result);
  }
  return result;
}
