// Chat templates against what Jinja2 made of them, templates that are not understood, and templates that mean harm.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

TEST(Jinja, placeholder) {}
