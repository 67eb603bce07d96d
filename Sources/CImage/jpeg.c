#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>

#include <jpeglib.h>

#include <jerror.h>

#include "support.h"

// Everything that lives on past a longjmp is a field of this struct, which belongs to the caller of the function that
// calls setjmp; that function has no changing local variable whose value would be lost.
typedef struct {
  struct jpeg_decompress_struct library;
  struct jpeg_error_mgr errors;
  jmp_buf escape;
  cimage_status status;
  char message[CIMAGE_MESSAGE_SIZE];
  cimage_result *result;
} decoder;

static void escape(decoder *self, cimage_status status) {
  char text[JMSG_LENGTH_MAX];
  self->errors.format_message((j_common_ptr)&self->library, text);
  self->status = status;
  snprintf(self->message, sizeof self->message, "%s", text);
  longjmp(self->escape, 1);
}

static void on_error(j_common_ptr library) {
  decoder *self = library->client_data;
  int code = library->err->msg_code;
  escape(self, code == JERR_OUT_OF_MEMORY ? CIMAGE_OUT_OF_MEMORY : CIMAGE_MALFORMED);
}

// libjpeg goes on after damage, with grey or smeared blocks. Such a picture must not become training data, so the
// warnings that mean lost pixels are errors; those about harmless oddities (extra bytes, versions) are not.
static void on_message(j_common_ptr library, int level) {
  decoder *self = library->client_data;
  if (level >= 0) return;
  switch (library->err->msg_code) {
  case JWRN_JPEG_EOF: escape(self, CIMAGE_TRUNCATED); break;
  case JWRN_HIT_MARKER:
  case JWRN_HUFF_BAD_CODE:
  case JWRN_ARITH_BAD_CODE:
  case JWRN_MUST_RESYNC: escape(self, CIMAGE_MALFORMED); break;
  default: break;
  }
}

static void on_output(j_common_ptr library) { (void)library; }

// Adobe's programs, which wrote practically all CMYK JPEGs, store ink inverted: 255 is none. So a channel is
// the product of what its ink and black let through.
static void rgb_from_inverted_cmyk(cimage_result *result) {
  size_t pixels = (size_t)result->width * result->height;
  uint8_t *target = result->bytes;
  const uint8_t *source = result->bytes;
  for (size_t i = 0; i < pixels; i++, source += 4, target += 3) {
    uint32_t black = source[3];
    for (int channel = 0; channel < 3; channel++) {
      target[channel] = (uint8_t)((source[channel] * black + 127) / 255);
    }
  }
  result->count = pixels * 3;
}

static void decode(decoder *self, const uint8_t *bytes, size_t count, uint64_t max_pixels) {
  j_decompress_ptr library = &self->library;
  if (setjmp(self->escape)) return;
  jpeg_create_decompress(library);
  jpeg_mem_src(library, bytes, count);
  jpeg_read_header(library, TRUE);
  bool inks = library->jpeg_color_space == JCS_CMYK || library->jpeg_color_space == JCS_YCCK;
  library->out_color_space = inks ? JCS_CMYK : JCS_RGB;
  if (!cimage_allocate(self->result, library->image_width, library->image_height, inks ? 4 : 3, max_pixels)) {
    self->status = self->result->status;
    return;
  }
  jpeg_start_decompress(library);
  size_t stride = (size_t)library->output_width * library->output_components;
  while (library->output_scanline < library->output_height) {
    JSAMPROW row = self->result->bytes + stride * library->output_scanline;
    jpeg_read_scanlines(library, &row, 1);
  }
  jpeg_finish_decompress(library);
  if (inks) rgb_from_inverted_cmyk(self->result);
}

cimage_result cimage_decode_jpeg(const uint8_t *bytes, size_t count, uint64_t max_pixels) {
  cimage_result result = {0};
  decoder self = {.result = &result};
  self.library.err = jpeg_std_error(&self.errors);
  self.library.client_data = &self;
  self.errors.error_exit = on_error;
  self.errors.emit_message = on_message;
  self.errors.output_message = on_output;
  decode(&self, bytes, count, max_pixels);
  jpeg_destroy_decompress(&self.library);
  // A picture that is too large has already been reported, with its size.
  if (self.status != CIMAGE_OK && result.status == CIMAGE_OK) cimage_fail(&result, self.status, self.message);
  return result;
}
