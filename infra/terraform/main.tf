# The stack of template.yaml, as one resource of Terraform: the template stays the only place that says what the relay consists of.
# Its parameters are the variables (variables.tf, which is generated), its outputs come back as they are.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

locals {
  repository = "${path.module}/../.."
  functions  = toset(["ingest-relay", "dead-letter", "ingest-watch", "bulk-upload"])

  # Named after their content: a zip that changed is another object, which is what makes CloudFormation deploy it.
  zips = { for name in local.functions : name => "${local.repository}/target/lambda/${name}.zip" }
  keys = { for name, zip in local.zips : name => "${var.stack_name}/${filesha256(zip)}.zip" }

  # The template as it is, but for the lines that say where the functions' code is.
  template = join("\n", [
    for line in split("\n", file("${local.repository}/template.yaml")) :
    try("      CodeUri: s3://${var.code_bucket}/${local.keys[regex(local.code, line)[0]]}", line)
  ])
  code = "^      CodeUri: target/lambda/([a-z-]+)"
}

resource "aws_s3_object" "zip" {
  for_each = local.functions
  bucket   = var.code_bucket
  key      = local.keys[each.key]
  source   = local.zips[each.key]

  # What was there before stays until the stack is on the new one: CloudFormation needs it to go back when a step fails.
  lifecycle {
    create_before_destroy = true
  }
}

# Through a bucket: a template that is passed along may have 51,200 bytes, and this one has more.
resource "aws_s3_object" "template" {
  bucket       = var.code_bucket
  key          = "${var.stack_name}/${sha256(local.template)}.yaml"
  content      = local.template
  content_type = "application/yaml"

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_cloudformation_stack" "relay" {
  name         = var.stack_name
  template_url = "https://${data.aws_s3_bucket.code.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  parameters   = local.parameters
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"] # it makes roles, and is a SAM template
  depends_on   = [aws_s3_object.zip]
}

data "aws_s3_bucket" "code" {
  bucket = var.code_bucket
}

variable "code_bucket" {
  description = "A bucket of yours, in the region of the stack, that the zips and the template are uploaded to."
  type        = string
}

variable "stack_name" {
  description = "The name of the stack. Changing it makes another one, with a queue of its own."
  type        = string
  default     = "usage-relay"
}

output "outputs" {
  description = "The outputs of the stack, by their names in template.yaml: QueueUrl, SecretArn, StoreUrl and so on."
  value       = aws_cloudformation_stack.relay.outputs
}
