#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "support.h"

// Everything that lives on past a longjmp is a field of this struct, which belongs to the caller of the function that
// calls setjmp; that function has no changing local variable whose value would be lost.
typedef struct {
  png_structp library;
  png_infop info;
  jmp_buf escape;
  cimage_status status;
  char message[CIMAGE_MESSAGE_SIZE];
  const uint8_t *input;
  size_t remaining;
  cimage_result *result;  // pixels when reading, the file when writing
  size_t capacity;        // of result->bytes when writing
} codec;

static void escape(codec *self, cimage_status status, const char *message) {
  self->status = status;
  snprintf(self->message, sizeof self->message, "%s", message);
  longjmp(self->escape, 1);
}

static void on_error(png_structp library, png_const_charp message) {
  escape(png_get_error_ptr(library), CIMAGE_MALFORMED, message);
}

static void on_warning(png_structp library, png_const_charp message) {
  (void)library;
  (void)message;
}

static void on_read(png_structp library, png_bytep target, size_t count) {
  codec *self = png_get_io_ptr(library);
  if (count > self->remaining) escape(self, CIMAGE_TRUNCATED, "the data ends too early");
  memcpy(target, self->input, count);
  self->input += count;
  self->remaining -= count;
}

static void on_write(png_structp library, png_bytep source, size_t count) {
  codec *self = png_get_io_ptr(library);
  cimage_result *file = self->result;
  if (count > self->capacity - file->count) {
    size_t capacity = 2 * self->capacity + count;
    uint8_t *grown = realloc(file->bytes, capacity);
    if (!grown) escape(self, CIMAGE_OUT_OF_MEMORY, "out of memory");
    file->bytes = grown;
    self->capacity = capacity;
  }
  memcpy(file->bytes + file->count, source, count);
  file->count += count;
}

static void on_flush(png_structp library) { (void)library; }

// MARK: - Reading

// Reads what stands before the pixels. False for more of them than are wanted: libpng would allocate whole rows.
static bool start_reading(codec *self, uint64_t max_pixels) {
  png_set_read_fn(self->library, self, on_read);
  // The number of pixels is what is limited, not a side.
  png_set_user_limits(self->library, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_read_info(self->library, self->info);
  uint64_t width = png_get_image_width(self->library, self->info);
  return width * png_get_image_height(self->library, self->info) <= max_pixels;
}

static void decode(codec *self, uint64_t max_pixels) {
  png_structp library = self->library;
  if (setjmp(self->escape)) return;
  if (!start_reading(self, max_pixels)) {
    cimage_fail(self->result, CIMAGE_TOO_LARGE, "too many pixels");
    self->status = self->result->status;
    self->result->width = png_get_image_width(library, self->info);
    self->result->height = png_get_image_height(library, self->info);
    return;
  }
  png_set_expand(library);  // palettes, fewer than 8 bits, transparent colours
  png_set_scale_16(library);
  png_set_gray_to_rgb(library);
  int passes = png_set_interlace_handling(library);
  png_read_update_info(library, self->info);

  uint32_t width = png_get_image_width(library, self->info);
  uint32_t height = png_get_image_height(library, self->info);
  uint32_t channels = png_get_channels(library, self->info);
  if (!cimage_allocate(self->result, width, height, channels, max_pixels)) {
    self->status = self->result->status;
    return;
  }
  size_t stride = (size_t)width * channels;
  for (int pass = 0; pass < passes; pass++) {
    for (uint32_t row = 0; row < height; row++) {
      png_read_row(library, self->result->bytes + stride * row, NULL);
    }
  }
  png_read_end(library, NULL);
  if (channels == 4) cimage_flatten_over_white(self->result);
}

static codec reader(const uint8_t *bytes, size_t count) { return (codec){.input = bytes, .remaining = count}; }

// Creates libpng's two objects for `self`, whose address they keep.
static bool open_reader(codec *self) {
  self->library = png_create_read_struct(PNG_LIBPNG_VER_STRING, self, on_error, on_warning);
  if (self->library) self->info = png_create_info_struct(self->library);
  return self->info != NULL;
}

cimage_result cimage_decode_png(const uint8_t *bytes, size_t count, uint64_t max_pixels) {
  cimage_result result = {0};
  codec self = reader(bytes, count);
  self.result = &result;
  if (open_reader(&self)) {
    decode(&self, max_pixels);
  } else {
    self.status = CIMAGE_OUT_OF_MEMORY;
  }
  png_destroy_read_struct(&self.library, &self.info, NULL);
  // A picture that is too large has already been reported, with its size.
  if (self.status != CIMAGE_OK && result.status == CIMAGE_OK) cimage_fail(&result, self.status, self.message);
  return result;
}

// MARK: - Text

static void read_text(codec *self, uint64_t max_pixels) {
  if (setjmp(self->escape)) return;
  if (!start_reading(self, max_pixels)) return;  // the texts before the pixels are there
  png_read_update_info(self->library, self->info);
  png_read_end(self->library, self->info);  // passes over the pixels to the texts behind them
}

static bool copy_text(cimage_text_entry *entry, const png_text *text) {
  entry->key = cimage_copy_message(text->key);
  entry->value = cimage_copy_message(text->text ? text->text : "");
  entry->utf8 = text->compression == PNG_ITXT_COMPRESSION_NONE || text->compression == PNG_ITXT_COMPRESSION_zTXt;
  return entry->key && entry->value;
}

static void copy_texts(cimage_text *result, const codec *self) {
  png_textp texts = NULL;
  int count = 0;
  png_get_text(self->library, self->info, &texts, &count);
  if (count == 0) return;
  result->entries = calloc((size_t)count, sizeof *result->entries);
  bool copied = result->entries != NULL;
  while (copied && result->count < (size_t)count) {
    copied = copy_text(&result->entries[result->count], &texts[result->count]);
    result->count++;
  }
  if (!copied) {
    cimage_text_free(result);
    result->status = CIMAGE_OUT_OF_MEMORY;
  }
}

cimage_text cimage_read_png_text(const uint8_t *bytes, size_t count, uint64_t max_pixels) {
  cimage_text result = {0};
  codec self = reader(bytes, count);
  if (open_reader(&self)) {
    read_text(&self, max_pixels);
  } else {
    self.status = CIMAGE_OUT_OF_MEMORY;
  }
  if (self.status == CIMAGE_OK) {
    copy_texts(&result, &self);
  } else {
    result.status = self.status;
    result.message = cimage_copy_message(self.message);
  }
  png_destroy_read_struct(&self.library, &self.info, NULL);
  return result;
}

// MARK: - Writing

static void encode(codec *self, const uint8_t *rgb, uint32_t width, uint32_t height, png_textp texts, int text_count) {
  png_structp library = self->library;
  if (setjmp(self->escape)) return;
  png_set_write_fn(library, self, on_write, on_flush);
  png_set_user_limits(library, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  // Named so that the bytes do not follow a change of libpng's defaults.
  png_set_compression_level(library, 6);
  png_set_filter(library, PNG_FILTER_TYPE_BASE, PNG_ALL_FILTERS);
  png_set_IHDR(library, self->info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_set_text(library, self->info, texts, text_count);
  png_write_info(library, self->info);
  for (uint32_t row = 0; row < height; row++) png_write_row(library, rgb + (size_t)row * width * 3);
  png_write_end(library, NULL);
}

static png_text chunk(const cimage_text_entry *entry) {
  png_text text = {0};
  text.key = entry->key;
  text.text = entry->value;
  if (entry->utf8) {
    text.compression = PNG_ITXT_COMPRESSION_NONE;
    text.itxt_length = strlen(entry->value);
    text.lang = "";
    text.lang_key = "";
  } else {
    text.compression = PNG_TEXT_COMPRESSION_NONE;
    text.text_length = strlen(entry->value);
  }
  return text;
}

cimage_result cimage_encode_png(const uint8_t *rgb, uint32_t width, uint32_t height, const cimage_text_entry *text,
                                size_t text_count) {
  cimage_result result = {0};
  codec self = {.result = &result};
  png_textp texts = calloc(text_count + 1, sizeof *texts);
  self.library = png_create_write_struct(PNG_LIBPNG_VER_STRING, &self, on_error, on_warning);
  if (self.library) self.info = png_create_info_struct(self.library);
  if (texts && self.info) {
    for (size_t i = 0; i < text_count; i++) texts[i] = chunk(&text[i]);
    encode(&self, rgb, width, height, texts, (int)text_count);
  } else {
    self.status = CIMAGE_OUT_OF_MEMORY;
  }
  png_destroy_write_struct(&self.library, &self.info);
  free(texts);
  if (self.status != CIMAGE_OK) {
    cimage_fail(&result, self.status, self.message);
  } else {
    result.width = width;
    result.height = height;
  }
  return result;
}
